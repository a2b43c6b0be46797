"""A judge against labels: on a file, or on the holdout for the gate.

Labelled conversations in, probabilities and an `Evaluation` out: how well the verdicts fit, what
they cost and how fast they came. Only what a generative judge was asked is kept.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flywheel.errors import NotEnough
from flywheel.judge.cache import Progress, VerdictCache, generative_opinions
from flywheel.judge.calibration import fit_calibration
from flywheel.judge.judge import Judge, Opinion
from flywheel.judge.prompted import PromptedJudge, Unjudged
from flywheel.judge.reactions import Floats
from flywheel.records import LabelledConversation, Tier, unit_hash
from flywheel.statistics import JudgeCard, judge_card


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a judge did on labelled conversations; the card is of those that it judged.

    `unjudged` counts the others by kind. Costs are of all of them, whenever they were paid: a bill,
    or the CPU time of this process; `traces_per_s` of those judged now, None where all were known.
    """

    judge: str
    card: JudgeCard
    unjudged: dict[str, int]
    from_cache: int
    cost_per_1000_usd: float
    traces_per_s: float | None

    def as_dict(self) -> dict[str, object]:
        """Flat, with every rate of the card and its interval."""
        named = {name: getattr(self, name) for name in self.__slots__ if name != "card"}
        return named | self.card.as_dict()


def probabilities(judge: Judge, tier: Tier, labelled: Sequence[LabelledConversation]) -> Floats:
    """The judge's probability for each row, shape (n,); every row must be eligible."""
    conversations = [row.conversation for row in labelled]
    verdicts = judge.verdicts(conversations, judge.opinions(conversations, tier), tier)
    return np.array([verdict.probability for verdict in verdicts])


def uniform_subset(
    labelled: Sequence[LabelledConversation], limit: int | None
) -> list[LabelledConversation]:
    """At most `limit` rows, drawn by a hash of their trace: the same ones each time."""
    if limit is None or limit >= len(labelled):
        return list(labelled)
    drawn = sorted(labelled, key=lambda row: unit_hash(row.conversation.trace_id, "evaluate"))
    return drawn[:limit]


def evaluate_judge(
    judge: Judge,
    tier: Tier,
    labelled: Sequence[LabelledConversation],
    usd_per_cpu_hour: float = 0.0,
) -> Evaluation:
    """Accuracy, TPR, TNR, F1, MCC, AUCs, ECE and Brier, with intervals grouped by session.

    Raises NotEnough where nothing is labelled, NotFound where the judge has no such tier.
    """
    judge.require(tier)
    _require_some(labelled)
    # What is loaded on first use is no part of the rate.
    probabilities(judge, tier, labelled[:1])
    began, cpu = time.perf_counter(), time.process_time()
    found = probabilities(judge, tier, labelled)
    elapsed, used = time.perf_counter() - began, time.process_time() - cpu
    return Evaluation(
        judge.tier_version(tier),
        _card(labelled, found),
        {},
        0,
        used / 3600 * usd_per_cpu_hour / len(labelled) * 1000,
        len(labelled) / elapsed,
    )


def evaluate_prompted(
    cache: VerdictCache,
    judge: PromptedJudge,
    labelled: Sequence[LabelledConversation],
    progress: Progress,
) -> Evaluation:
    """The same of a generative judge, shown no cases; what was asked before is not asked again.

    Raises NotEnough where nothing is labelled, or nothing was judged; the reason is in it.
    """
    _require_some(labelled)
    began = time.perf_counter()
    opinions, from_cache = _opinions(cache, judge, labelled, progress)
    elapsed = time.perf_counter() - began
    unjudged = [opinion for opinion in opinions if isinstance(opinion, Unjudged)]
    if len(unjudged) == len(opinions):
        what = f"judged conversations (of the first, {unjudged[0].kind}: {unjudged[0].why})"
        raise NotEnough(what, 0, 1)
    conversations = [row.conversation for row in labelled]
    verdicts = judge.verdicts(conversations, opinions, [()] * len(labelled))
    judged = [
        row for row, opinion in zip(labelled, opinions, strict=True) if isinstance(opinion, Opinion)
    ]
    fresh = len(labelled) - from_cache
    return Evaluation(
        judge.version,
        _card(judged, np.array([verdict.probability for verdict in verdicts])),
        dict(Counter(opinion.kind for opinion in unjudged)),
        from_cache,
        sum(opinion.cost_usd for opinion in opinions) / len(labelled) * 1000,
        fresh / elapsed if fresh else None,
    )


def calibrated_on(
    cache: VerdictCache,
    judge: PromptedJudge,
    labelled: Sequence[LabelledConversation],
    progress: Progress,
) -> PromptedJudge:
    """The judge under Platt scaling on these labels; as it is where they are too few."""
    opinions, _ = _opinions(cache, judge, labelled, progress)
    pairs = [
        (row, opinion.logit)
        for row, opinion in zip(labelled, opinions, strict=True)
        if isinstance(opinion, Opinion)
    ]
    calibration = fit_calibration(
        np.array([logit for _, logit in pairs]),
        np.zeros(len(pairs)),
        np.array([row.perceived_error for row, _ in pairs], bool),
        [row.group for row, _ in pairs],
        start=judge.calibration,
    )
    return replace(judge, calibration=calibration)


def _opinions(
    cache: VerdictCache,
    judge: PromptedJudge,
    labelled: Sequence[LabelledConversation],
    progress: Progress,
) -> tuple[list[Opinion | Unjudged], int]:
    conversations = [row.conversation for row in labelled]
    return generative_opinions(cache, judge, conversations, [()] * len(labelled), progress)


def _card(labelled: Sequence[LabelledConversation], found: Floats) -> JudgeCard:
    return judge_card(
        [row.perceived_error for row in labelled],
        found.tolist(),
        [row.group for row in labelled],
    )


def _require_some(labelled: Sequence[LabelledConversation]) -> None:
    if not labelled:
        raise NotEnough("labelled conversations", 0, 1)
