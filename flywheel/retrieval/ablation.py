"""What of a generative judge's input is worth its price: each choice by itself, on labels.

Labelled conversations and others that may be shown with them in, one row an arm out. The one idea
is that every arm judges the same conversations, so that it is compared with the plain one pair by
pair, and that its tokens and its bill stand beside its accuracy.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flywheel.errors import NotEnough
from flywheel.judge.cache import VerdictCache, generative_opinions
from flywheel.judge.judge import Judge, Opinion
from flywheel.judge.prompted import Example, PromptedJudge
from flywheel.models.embedder import Embedder, Vectors
from flywheel.records import Interval, LabelledConversation
from flywheel.retrieval.keys import key_turns, key_vectors, query_turns
from flywheel.retrieval.ranking import Candidates, Policy, rank_examples
from flywheel.settings import RetrievalSettings
from flywheel.statistics import judge_card, mcnemar_exact
from flywheel.traces.conversations import InputLevers

# As the issue of few-shots is usually put: none, any, like it, newer, and where judges had erred.
POLICIES: dict[str, Policy | None] = {
    "none": None,
    "random": "random",
    "similarity": "similarity",
    "+ recency": "recency",
    "+ disagreement": "full",
}
# Characters of a message where long ones are cut in the middle.
CUT_CHARS = 400

# The rows of a file as levers leave them, in the same order each time.
Reader = Callable[[InputLevers], Sequence[LabelledConversation]]
# What an arm is called, what it has done, and of how many.
ArmProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ArmResult:
    """How the judge did with one choice of input.

    `changed` counts the inputs that differ from those of the plain arm, whose prompts are of no
    other kind where it is 0. `only_this` and `only_plain` count sessions on which one of the two
    arms is right more often, and `p_value` is of the exact McNemar test between them.
    """

    arm: str
    n: int
    unjudged: dict[str, int]
    changed: int
    accuracy: Interval
    mcc: Interval
    roc_auc: Interval
    prompt_tokens: float
    cost_per_1000_usd: float
    only_this: int
    only_plain: int
    p_value: float


@dataclass(frozen=True, slots=True)
class Shelf:
    """Conversations that may be shown, with what ranks them; `has_erred` is of a judge before."""

    rows: Sequence[LabelledConversation]
    vectors: Vectors
    has_erred: Sequence[bool]

    @property
    def has_times(self) -> bool:
        """Whether it is known of all how old they are."""
        return all(row.started_at is not None for row in self.rows)


def shelf_of(rows: Sequence[LabelledConversation], judge: Judge, embedder: Embedder) -> Shelf:
    """The conversations to choose from; `judge`, which has not seen them, says where it errs."""
    conversations = [row.conversation for row in rows]
    verdicts = judge.verdicts(conversations, judge.opinions(conversations, judge.best), judge.best)
    keys = [key_turns(row.conversation, row.evidence_turn) for row in rows]
    vectors = key_vectors(embedder, [key for key in keys if key is not None])
    erred = [v.perceived_error != r.perceived_error for v, r in zip(verdicts, rows, strict=True)]
    return Shelf(rows, vectors, erred)


def ablate(
    cache: VerdictCache,
    judge: PromptedJudge,
    read: Reader,
    shelf: Shelf,
    embedder: Embedder,
    levers: InputLevers,
    settings: RetrievalSettings,
    progress: ArmProgress,
) -> Iterator[ArmResult]:
    """Each arm as it is done: the choices of few-shots, then the two levers without few-shots.

    What was asked before is not asked again. Raises NotEnough where nothing is labelled or where
    an arm has no verdict.
    """
    plain = read(levers)
    if not plain:
        raise NotEnough("labelled conversations", 0, 1)
    queries = [key_vectors(embedder, query_turns(row.conversation)) for row in plain]
    base: dict[int, bool] | None = None
    for name, rows, policy in _arms(read, plain, levers, shelf):
        shown = [
            _examples(shelf, row, query, policy, judge.few_shots, settings)
            for row, query in zip(rows, queries, strict=True)
        ]
        right, result = _arm(cache, judge, name, rows, shown, plain, base, progress)
        base = right if base is None else base
        yield result


def _arms(
    read: Reader, plain: Sequence[LabelledConversation], levers: InputLevers, shelf: Shelf
) -> Iterator[tuple[str, Sequence[LabelledConversation], Policy | None]]:
    for name, policy in POLICIES.items():
        # Without times the newer are not known, and the arm would be the one before it.
        if policy != "recency" or shelf.has_times:
            yield name, plain, policy
    turned = replace(levers, include_tool_calls=not levers.include_tool_calls)
    yield f"tool calls {'in' if turned.include_tool_calls else 'out'}", read(turned), None
    cut = replace(levers, max_message_chars=0 if levers.max_message_chars else CUT_CHARS)
    name = f"messages cut at {CUT_CHARS}" if cut.max_message_chars else "messages whole"
    yield name, read(cut), None


def _arm(
    cache: VerdictCache,
    judge: PromptedJudge,
    name: str,
    rows: Sequence[LabelledConversation],
    shown: Sequence[Sequence[Example]],
    plain: Sequence[LabelledConversation],
    base: dict[int, bool] | None,
    progress: ArmProgress,
) -> tuple[dict[int, bool], ArmResult]:
    conversations = [row.conversation for row in rows]
    opinions, _ = generative_opinions(
        cache, judge, conversations, shown, lambda done, n: progress(name, done, n)
    )
    places = [i for i, opinion in enumerate(opinions) if isinstance(opinion, Opinion)]
    if not places:
        raise NotEnough(f"verdicts of the arm {name!r}", 0, 1)
    verdicts = judge.verdicts(conversations, opinions, shown)
    truth = [rows[i].perceived_error for i in places]
    groups = [rows[i].group for i in places]
    rates = judge_card(truth, [v.probability for v in verdicts], groups).rates
    right = {
        i: verdict.perceived_error == is_error
        for i, verdict, is_error in zip(places, verdicts, truth, strict=True)
    }
    only_this, only_plain = _discordant(right, right if base is None else base, rows)
    pairs = zip(rows, plain, shown, strict=True)
    result = ArmResult(
        arm=name,
        n=len(places),
        unjudged=dict(Counter(o.kind for o in opinions if not isinstance(o, Opinion))),
        changed=sum(bool(e) or a.conversation != b.conversation for a, b, e in pairs),
        accuracy=rates["accuracy"],
        mcc=rates["mcc"],
        roc_auc=rates["roc_auc"],
        prompt_tokens=float(np.mean([o.prompt_tokens for o in opinions])),
        cost_per_1000_usd=float(np.mean([o.cost_usd for o in opinions])) * 1000,
        only_this=only_this,
        only_plain=only_plain,
        p_value=mcnemar_exact(only_this, only_plain),
    )
    return right, result


def _discordant(
    this: dict[int, bool], plain: dict[int, bool], rows: Sequence[LabelledConversation]
) -> tuple[int, int]:
    """Sessions on which this arm, and on which the plain one, is right more often."""
    lead: Counter[str] = Counter()
    for i in this.keys() & plain.keys():
        lead[rows[i].group] += this[i] - plain[i]
    return sum(n > 0 for n in lead.values()), sum(n < 0 for n in lead.values())


def _examples(
    shelf: Shelf,
    row: LabelledConversation,
    query: Vectors,
    policy: Policy | None,
    k: int,
    settings: RetrievalSettings,
) -> list[Example]:
    """What is shown with a conversation: never one of its own session."""
    if policy is None or not k:
        return []
    allowed = np.array([i for i, one in enumerate(shelf.rows) if one.group != row.group], np.int64)
    if policy == "random":
        seed = np.frombuffer(query.tobytes()[:32], np.uint32)
        chosen = np.random.default_rng(seed).permutation(allowed)[:k].tolist()
    else:
        vectors = shelf.vectors[allowed]
        candidates = Candidates(
            ids=allowed,
            similarity=(vectors @ query.T).max(axis=1).astype(np.float64),
            age_days=np.array([_age_days(shelf.rows[i], row) for i in allowed]),
            disagreement=np.array([shelf.has_erred[i] for i in allowed], bool),
            perceived_error=np.array([shelf.rows[i].perceived_error for i in allowed], bool),
            vectors=vectors,
            closeness=np.zeros(len(allowed)),
        )
        how = settings.model_copy(update={"k": k})
        chosen = [int(allowed[i]) for i in rank_examples(candidates, how, policy)]
    return [_example(shelf.rows[i]) for i in chosen]


def _age_days(example: LabelledConversation, row: LabelledConversation) -> float:
    if example.started_at is None or row.started_at is None:
        return 0.0
    return max(0.0, (row.started_at - example.started_at).total_seconds() / 86_400)


def _example(row: LabelledConversation) -> Example:
    code = row.reason_code or ("complaint_without_correction" if row.perceived_error else "none")
    return Example(
        row.conversation.trace_id, row.conversation, row.perceived_error, code, row.reason
    )
