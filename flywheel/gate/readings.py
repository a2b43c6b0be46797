"""Two judges on the same conversations, whichever kind they are; and the conversations' languages.

Labelled conversations in, a `Reading` each out. A fitted judge always has a probability; of a
generative one what could not be read, was refused or did not fit in is None, and counts as wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from flywheel.errors import NotEnough
from flywheel.judge.cache import Progress, VerdictCache, generative_opinions, input_hash
from flywheel.judge.judge import Judge, Opinion
from flywheel.judge.prompted import PromptedJudge, Unjudged
from flywheel.metrics.checks.check import CheckRefused
from flywheel.metrics.checks.language import languages_of
from flywheel.records import Conversation, LabelledConversation
from flywheel.store import Stores

AnyJudge = Judge | PromptedJudge


@dataclass(frozen=True, slots=True)
class Reading:
    """A labelled conversation and both judges' probability of an error, None for no reply."""

    row: LabelledConversation
    champion: float | None
    challenger: float | None

    @property
    def both(self) -> tuple[float | None, float | None]:
        """What the champion and the challenger say, in this order."""
        return self.champion, self.challenger


def read_both(
    stores: Stores,
    champion: AnyJudge,
    challenger: AnyJudge,
    rows: Sequence[LabelledConversation],
    progress: Progress,
) -> list[Reading]:
    """What both judges say of each row; all must be eligible.

    Raises NotEnough where a generative judge's model could not be asked.
    """
    said = [_said(stores, judge, rows, progress) for judge in (champion, challenger)]
    return [Reading(*of_row) for of_row in zip(rows, *said, strict=True)]


def _said(
    stores: Stores, judge: AnyJudge, rows: Sequence[LabelledConversation], progress: Progress
) -> list[float | None]:
    if not rows:
        return []
    conversations = [row.conversation for row in rows]
    if isinstance(judge, Judge):
        found = judge.verdicts(conversations, _fitted(stores, judge, conversations), judge.best)
        return [verdict.probability for verdict in found]
    unaided: list[tuple[()]] = [()] * len(rows)
    cache = VerdictCache(stores.ledger)
    opinions, _ = generative_opinions(cache, judge, conversations, unaided, progress)
    failed = [o for o in opinions if isinstance(o, Unjudged) and o.kind in ("failed", "budget")]
    if failed:
        what = f"replies of {judge.name} (of the others, the first: {failed[0].why})"
        raise NotEnough(what, len(rows) - len(failed), len(rows))
    verdicts = iter(judge.verdicts(conversations, opinions, unaided))
    return [None if isinstance(o, Unjudged) else next(verdicts).probability for o in opinions]


def _fitted(
    stores: Stores, judge: Judge, conversations: Sequence[Conversation]
) -> list[Opinion | None]:
    """A fitted judge's opinions; those that a run has paid for already are not worked out again."""
    texts = [(input_hash(conversation), "") for conversation in conversations]
    known = VerdictCache(stores.ledger).read(judge.models[judge.best].version, texts)
    new = [place for place, text in enumerate(texts) if text not in known]
    fresh = judge.opinions([conversations[place] for place in new], judge.best)
    found: dict[int, Opinion | None] = dict(zip(new, fresh, strict=True))
    for place, text in enumerate(texts):
        if place not in found:
            opinion = known[text]
            found[place] = opinion if isinstance(opinion, Opinion) else None
    return [found[place] for place in range(len(texts))]


def languages_in(conversations: Sequence[Conversation]) -> tuple[list[str | None], tuple[str, ...]]:
    """The language of what users say in each, as `languages_of_texts`."""
    return languages_of_texts(
        ["\n".join(t.text for t in c.turns if t.role == "user") for c in conversations]
    )


def languages_of_texts(texts: Sequence[str]) -> tuple[list[str | None], tuple[str, ...]]:
    """The language of each text, None where it cannot be told; and why there is none.

    The second has a sentence where the extra that reads languages is missing.
    """
    try:
        return languages_of(texts), ()
    except CheckRefused as reason:
        return [None] * len(texts), (f"No slice by language: {reason}.",)
