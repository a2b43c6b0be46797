"""The champion judge at work in the web process: one conversation, now.

A conversation in, a verdict out, by the same tiers and thresholds as a day's; nothing is stored but
what a generative judge was asked. The one idea is that the alias is looked at for each call, so
that a champion that was promoted a moment ago judges the next conversation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING

import sqlalchemy as sa

from flywheel.errors import BadInput, TryAgain
from flywheel.records import Conversation, Verdict
from flywheel.store import Project
from flywheel.store.tables import aliases
from flywheel.traces.conversations import conversation_of
from flywheel.traces.tool_turns import Message

# Judges bring libraries of 120 MB, which a server that is asked for none does without.
if TYPE_CHECKING:
    from flywheel.judge.judge import Judge

# Conversations that are judged or wait for it; a conversation takes some 0.1 s.
MOST_AT_ONCE = 8
WAIT_S = 10.0


class NoVerdict(TryAgain):
    """A generative judge gave no answer that could be read."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict, and the version that gave it; None where there is no reaction to judge."""

    verdict: Verdict | None
    judge_version: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A conversation to judge: its messages in order."""

    trace_id: str
    messages: Sequence[Message]
    app: str = ""
    generative: bool = False


class Champion:
    """The judges in use, each loaded with its first conversation and again when its alias moves."""

    def __init__(self, project: Project):
        self._project = project
        self._places = BoundedSemaphore(MOST_AT_ONCE)
        self._loading = Lock()
        # Two conversations at a time on few cores take twice as long each.
        self._working = Lock()
        # By target, under the version that carried the alias.
        self._judges: dict[str, tuple[str | None, Judge]] = {}

    def score(self, asked: "Asked") -> Judged:
        """Judge a conversation; by the generative judge too where asked for and left undecided.

        Raises TryAgain where too many wait already, or where no answer could be read.
        """
        if not self._places.acquire(timeout=WAIT_S):
            raise TryAgain("the judge has too many conversations to read; try again in a moment")
        try:
            judge = self._current(asked.app)
            said = list(asked.messages)
            conversation = conversation_of(asked.trace_id, said, judge.levers, app=asked.app)
            if not conversation.is_eligible:
                return Judged(None, judge.version)
            with self._working:
                verdict = _by_tiers(judge, conversation)
            if asked.generative and not verdict.is_decided:
                return self._by_generative(judge, conversation)
            return Judged(verdict, judge.tier_version(verdict.tier))
        finally:
            self._places.release()

    def warm_up(self) -> None:
        """Load what the first conversation would load."""
        said = (Message(0, "user", "hello"), Message(1, "assistant", "hello"))
        self.score(Asked("warm-up", (*said, Message(2, "user", "no"))))

    def _current(self, app: str) -> "Judge":
        from flywheel.in_use import reader_of, target_of

        target = target_of(self._project, app)
        this = (aliases.c.target == target, aliases.c.alias == "champion")
        with self._project.stores.ledger.read() as connection:
            version = connection.scalar(sa.select(aliases.c.version).where(*this))
        with self._loading:
            known = self._judges.get(target)
            if known is None or known[0] != version:
                known = version, reader_of(self._project, target=target)
                self._judges[target] = known
            return known[1]

    def _by_generative(self, judge: "Judge", conversation: Conversation) -> Judged:
        from flywheel.in_use import generative_of
        from flywheel.judge.cache import VerdictCache, generative_opinions
        from flywheel.judge.prompted import Unjudged
        from flywheel.judge.scoring import no_progress

        generative = generative_of(self._project, levers=judge.levers)
        if generative is None:
            raise BadInput(
                "no generative judge is configured; set `judge.generative`, or ask without"
            )
        generative = generative.after(judge.version)
        cache = VerdictCache(self._project.stores.ledger)
        opinions, _ = generative_opinions(cache, generative, [conversation], [()], no_progress)
        (opinion,) = opinions
        if isinstance(opinion, Unjudged):
            raise NoVerdict(f"{generative.name} gave no verdict: {opinion.why}")
        (verdict,) = generative.verdicts([conversation], opinions, [()])
        return Judged(verdict, f"{judge.version}+{generative.version}/generative")


def _by_tiers(judge: "Judge", conversation: Conversation) -> Verdict:
    """The verdict of the first tier, or of the best where the first does not decide."""
    from flywheel.judge.scoring import asks

    first = next(iter(judge.models))
    (verdict,) = judge.verdicts([conversation], judge.opinions([conversation], first), first)
    if verdict.is_decided or judge.best == first or not asks(judge, judge.best):
        return verdict
    opinions = judge.opinions([conversation], judge.best)
    (verdict,) = judge.verdicts([conversation], opinions, judge.best)
    return verdict
