"""A judge: its tiers, each calibrated, under one version; the cold-start one needs no labels.

Conversations in, opinions and verdicts out. An opinion is what costs time and is cached: the logit
of the worst reaction and where it stands. A verdict adds what is cheap and may change: the
calibration and the say of similar corrections.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from flywheel.errors import NotFound
from flywheel.judge.calibration import Calibration
from flywheel.judge.cascade import Cascade
from flywheel.judge.prototypes import name_codes
from flywheel.judge.reactions import Floats, Pooling, Reaction, reactions_of, stand_ins
from flywheel.models.engine import Precision, version_in
from flywheel.records import Conversation, ReasonCode, Tier, Verdict
from flywheel.safety import quote
from flywheel.traces.conversations import InputLevers

METRIC = "perceived_error"
# Of the definition in the module docstring of reactions.py; a new one makes new rows.
METRIC_VERSION = "1"
# Conversations whose features are in memory at once.
_BATCH = 4096


class ReactionModel(Protocol):
    """What a tier is: one logit and one score a reason code for each reaction."""

    @property
    def tier(self) -> Tier:
        """Which tier it is."""

    @property
    def version(self) -> str:
        """Hash of everything its logits depend on."""

    @property
    def pooling(self) -> Pooling:
        """Which reaction stands for its trace."""

    def read(self, reactions: Sequence[Reaction]) -> tuple[Floats, Floats]:
        """Logits of shape (n,), and scores of shape (n, 8) in the order of REASON_CODES."""


@runtime_checkable
class ReadsAhead(Protocol):
    """A tier whose batches may be read in other processes, before it is asked."""

    def reading(self, groups: Iterable[Sequence[Reaction]]) -> AbstractContextManager[None]:
        """Within it these groups will be read, one after the other."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one tier makes of one conversation, before calibration.

    `reason` is in the judge's own words, where it has any; what they cost is beside them.
    """

    logit: float
    position: int
    code_if_error: ReasonCode
    code_if_fine: ReasonCode
    reason: str = ""
    cost_usd: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Examples:
    """What retrieval gave for a trace: how it leans to an error, in [-1, 1], and by which ids."""

    leaning: float
    correction_ids: tuple[str, ...]


NO_EXAMPLES = Examples(0.0, ())


@dataclass(frozen=True, slots=True)
class Judge:
    """The tiers of a judge, cheapest first; the first reads all traces, `best` the
    sampled ones.

    `cascade` says from where on a tier decides by itself, None where nothing is certified.
    """

    models: Mapping[Tier, ReactionModel]
    calibrations: Mapping[Tier, Calibration]
    levers: InputLevers
    best: Tier
    cascade: Cascade | None = None
    precision: Precision = "float32"

    @property
    def version(self) -> str:
        """Hash of the models, the calibrations, the input levers and the cascade, and the numbers
        that its encoders are run in where those are not float32."""
        parts = {
            "models": {t: version_in(model.version, "float32") for t, model in self.models.items()},
            "calibrations": {tier: asdict(c) for tier, c in self.calibrations.items()},
            "levers": self.levers.named(),
            "best": self.best,
        }
        # Left out where there is none: judges from before there were cascades keep their version.
        certified = {} if self.cascade is None else {"cascade": self.cascade.as_dict()}
        return version_in("judge-" + fingerprint(parts | certified), self.precision)

    def require(self, tier: Tier) -> None:
        """Raises NotFound where this judge has no such tier."""
        if tier not in self.models:
            raise NotFound("tier of this judge", tier, list(self.models))

    def tier_version(self, tier: Tier) -> str:
        """What the rows of one tier name as their judge version."""
        return f"{self.version}/{tier}"

    def reading(
        self, chunks: Iterable[Sequence[Conversation]], tier: Tier
    ) -> AbstractContextManager[None]:
        """Within it `opinions` of these will be asked for, one chunk after the other."""
        model = self.models[tier]
        if not isinstance(model, ReadsAhead):
            return nullcontext()
        return model.reading(reactions_of(chunk, model.pooling) for chunk in chunks)

    def opinions(self, conversations: Sequence[Conversation], tier: Tier) -> list[Opinion | None]:
        """One opinion a conversation, None where it has no reaction to judge."""
        found: list[Opinion | None] = []
        for start in range(0, len(conversations), _BATCH):
            found += _opinions(conversations[start : start + _BATCH], self.models[tier])
        return found

    def verdicts(
        self,
        conversations: Sequence[Conversation],
        opinions: Sequence[Opinion | None],
        tier: Tier,
        examples: Mapping[str, Examples] = MappingProxyType({}),
    ) -> list[Verdict]:
        """A verdict for every conversation that has an opinion; `examples` by trace id."""
        pairs = [(c, o) for c, o in zip(conversations, opinions, strict=True) if o is not None]
        calibration = self.calibrations[tier]
        given = [examples.get(c.trace_id, NO_EXAMPLES) for c, _ in pairs]
        probabilities = calibration.probability(
            np.array([o.logit for _, o in pairs]), np.array([e.leaning for e in given])
        )
        decided: list[bool | None] = [None] * len(pairs)
        if self.cascade is not None:
            decided = self.cascade.decides(tier, probabilities).tolist()
        return [
            _verdict(conversation, opinion, tier, float(p), shown.correction_ids, is_decided)
            for (conversation, opinion), p, shown, is_decided in zip(
                pairs, probabilities, given, decided, strict=True
            )
        ]


def _opinions(conversations: Sequence[Conversation], model: ReactionModel) -> list[Opinion | None]:
    found: list[Opinion | None] = [None] * len(conversations)
    reactions = reactions_of(conversations, model.pooling)
    if not reactions:
        return found
    logits, codes = model.read(reactions)
    chosen = stand_ins(reactions, logits, len(conversations), model.pooling)
    chosen = chosen[chosen >= 0]
    named = zip(
        [reactions[i] for i in chosen.tolist()],
        logits[chosen].tolist(),
        name_codes(codes[chosen], is_error=True),
        name_codes(codes[chosen], is_error=False),
        strict=True,
    )
    for reaction, logit, code_if_error, code_if_fine in named:
        found[reaction.conversation] = Opinion(
            logit, reaction.position, code_if_error, code_if_fine
        )
    return found


def _verdict(
    conversation: Conversation,
    opinion: Opinion,
    tier: Tier,
    probability: float,
    few_shot_ids: tuple[str, ...],
    is_decided: bool | None,
) -> Verdict:
    is_error = probability >= 0.5
    code = opinion.code_if_error if is_error else opinion.code_if_fine
    evidence = next(t.text for t in conversation.turns if t.position == opinion.position)
    return Verdict(
        conversation.trace_id,
        conversation.content_hash,
        is_error,
        probability,
        opinion.logit,
        f"{code} at message {opinion.position}: {quote(evidence)}",
        code,
        opinion.position,
        tier,
        few_shot_ids,
        is_decided,
        opinion.cost_usd,
        opinion.prompt_tokens,
        opinion.completion_tokens,
        opinion.latency_ms,
    )


def array_fingerprint(arrays: Sequence[NDArray[Any]], *names: str) -> str:
    """Short hash of the bytes of arrays, and of names."""
    digest = hashlib.sha256(json.dumps(names).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]


def fingerprint(value: object) -> str:
    """Short hash of a value that JSON can hold."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
