"""One judge over its part of a day, tier by tier: each reads what those before it left open.

Traces and few-shot rows in, the rows of each tier out. The one idea is that a day passes through in
pages, so that its memory is that of its rows as columns, however many traces it has. What took time
is kept in the verdict cache as soon as it is known, so that a run that was killed pays nothing
twice.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

from flywheel.judge.cache import Progress, VerdictCache, fitted_opinions, generative_opinions
from flywheel.judge.examples import Cases, read_cases, read_examples
from flywheel.judge.judge import NO_EXAMPLES, Examples, Judge
from flywheel.judge.prompted import PromptedJudge, Unjudged
from flywheel.judge.score_rows import TierRows
from flywheel.models.engine import CPU_TIME
from flywheel.records import Conversation, Tier, Verdict, unit_hash
from flywheel.store import Stores
from flywheel.traces.applications import EVERY, Applications
from flywheel.traces.conversations import read_day, read_traces

# Conversations in memory at once.
PAGE = 2_048

# What a tier has read, of how many that it is to read.
TierProgress = Callable[[Tier, int, int], None]


def asks(judge: Judge, tier: Tier) -> bool:
    """Whether a tier has a place: one that a cascade leaves out says nothing that helps it."""
    cascade = judge.cascade
    return cascade is None or cascade.is_empty or tier in cascade.thresholds


@dataclass(slots=True)
class DayReading:
    """One judge's part of a day while it is judged: the traces of its applications.

    `open` are the sampled traces on which no tier has the last word, with the probability by the
    last that read them; ids and numbers only, since conversations are read again when their turn
    comes.
    """

    stores: Stores
    judge: Judge
    day: date
    progress: TierProgress
    usd_per_cpu_hour: float
    applications: Applications = EVERY
    attempted: int = 0
    eligible: int = 0
    sampled: int = 0
    flagged: int = 0
    from_cache: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    why_failed: str = ""
    generative: dict[str, int] = field(default_factory=dict)
    open: dict[str, float] = field(default_factory=dict)

    def read(self) -> list[TierRows]:
        """What the fitted tiers make of it: the first of all, and the best of what is left open."""
        made = [self.read_all()]
        if self.judge.best != made[0].tier and asks(self.judge, self.judge.best):
            made.append(self.read_open(self.judge.best))
        return made

    def read_all(self) -> TierRows:
        """Every eligible trace of the day, by the first tier, page by page."""
        tier = next(iter(self.judge.models))
        rows = TierRows(tier, is_cost_shared=True)
        with self.stores.warehouse.read() as connection:
            total = connection.count(
                "judge/count_of_part", day=self.day, **self.applications.as_parameters()
            )
        last: str | None = None
        while True:
            page, sampled = self._page(last)
            eligible = [c for c in page if c.is_eligible]
            # While the tier reads: no input, no output.
            cpu = CPU_TIME.seconds()
            verdicts = self.judge.verdicts(eligible, self.judge.opinions(eligible, tier), tier)
            rows.cost_usd += (CPU_TIME.seconds() - cpu) / 3600 * self.usd_per_cpu_hour
            rows.add(verdicts)
            self.attempted += len(page)
            self.eligible += len(eligible)
            self.sampled += sum(c.trace_id in sampled for c in eligible)
            self.open |= {v.trace_id: v.probability for v in verdicts if v.trace_id in sampled}
            self.flagged += sum(v.perceived_error for v in verdicts if v.trace_id not in sampled)
            self._close(verdicts)
            self.progress(tier, self.attempted, max(total, self.attempted))
            if len(page) < PAGE:
                break
            last = page[-1].trace_id
        rows.skip(self.ineligible)
        return rows

    def read_open(self, tier: Tier) -> TierRows:
        """What is open, by a fitted tier, a page of like lengths at a time."""
        rows, ids = TierRows(tier), list(self.open)
        rows.skip(self._left_out)
        cache = VerdictCache(self.stores.ledger)
        for start in range(0, len(ids), PAGE):
            page = ids[start : start + PAGE]
            conversations, examples, _ = self._traces(page)
            opinions, known = fitted_opinions(
                cache,
                self.judge,
                tier,
                conversations,
                self._watch(tier, start, len(page), len(ids)),
                self.usd_per_cpu_hour,
            )
            self.from_cache += known
            verdicts = self.judge.verdicts(conversations, opinions, tier, examples)
            rows.add(verdicts)
            rows.skip({"changed meanwhile": len(page) - len(verdicts)})
            self.open |= {v.trace_id: v.probability for v in verdicts}
            self._close(verdicts)
            if known == len(page):
                self.progress(tier, start + known, len(ids))
        return rows

    def ask(self, judge: PromptedJudge, limit: int) -> TierRows:
        """What is open, by the generative judge: `limit` traces.

        Those nearest .5, them first, where people have the last word. What its thresholds were
        certified on is all that is left open, so that where it has some, the traces are drawn
        uniformly of that, by a hash of the trace id.
        """
        rows = TierRows(judge.tier)
        rows.skip(self._left_out)
        if judge.thresholds is None or judge.thresholds.is_empty:
            asked = heapq.nsmallest(limit, self.open, key=lambda i: (abs(self.open[i] - 0.5), i))
        else:
            asked = heapq.nsmallest(limit, self.open, key=lambda i: (unit_hash(i, "generative"), i))
        rows.skip({"beyond its traces of a day": len(self.open) - len(asked)})
        found, examples, cases = self._traces(asked, judge.few_shots)
        by_id = {c.trace_id: c for c in found if c.is_eligible}
        conversations = [by_id[i] for i in asked if i in by_id]
        rows.skip({"changed meanwhile": len(asked) - len(conversations)})
        given = [examples.get(c.trace_id, NO_EXAMPLES).correction_ids for c in conversations]
        shown = [cases.shown(ids, judge.few_shots) for ids in given]
        watch = self._watch(judge.tier, 0, len(conversations), len(conversations))
        cache = VerdictCache(self.stores.ledger)
        opinions, known = generative_opinions(cache, judge, conversations, shown, watch)
        verdicts = judge.verdicts(conversations, opinions, shown)
        rows.add(verdicts)
        self.open |= {v.trace_id: v.probability for v in verdicts}
        self._close(verdicts)
        self.from_cache += known
        for conversation, opinion, of_it in zip(conversations, opinions, shown, strict=True):
            if isinstance(opinion, Unjudged):
                rows.add_unjudged(conversation, opinion, [one.correction_id for one in of_it])
                self.why_failed = self.why_failed or opinion.why
        self.generative = {
            "asked": len(conversations),
            "judged": len(verdicts),
            "known before": known,
            "with cases": sum(map(bool, shown)),
        } | {f"cases left out, {why}": n for why, n in cases.left_out.items()}
        return rows

    def go_without(self, why: str, limit: int) -> None:
        """Count what a generative judge would have been asked, for this reason, as failed."""
        n = min(limit, len(self.open))
        self.failed = {"failed": n} if n else {}
        self.why_failed = why

    @property
    def ineligible(self) -> dict[str, int]:
        """Traces that no tier judges, and why."""
        n = self.attempted - self.eligible
        return {"not eligible: no user turn after an answer": n} if n else {}

    @property
    def _left_out(self) -> dict[str, int]:
        """Traces that a later tier does not read, whatever it is, and why."""
        return self.ineligible | {
            "not in the sample": self.eligible - self.sampled,
            "decided by an earlier tier": self.sampled - len(self.open),
        }

    def _close(self, verdicts: Iterable[Verdict]) -> None:
        """Take what a tier decided out of what is open."""
        for verdict in verdicts:
            if verdict.is_decided and self.open.pop(verdict.trace_id, None) is not None:
                self.flagged += verdict.perceived_error

    def _page(self, last: str | None) -> tuple[list[Conversation], set[str]]:
        """The traces behind the last one, and which of them are sampled."""
        with self.stores.warehouse.read() as connection:
            page = read_day(connection, self.day, self.judge.levers, last, PAGE, self.applications)
            if not page:
                return [], set()
            first, last = page[0].trace_id, page[-1].trace_id
            sampled = connection.rows("judge/sampled_of_page", day=self.day, first=first, last=last)
        return page, {str(row[0]) for row in sampled}

    def _traces(
        self, ids: Sequence[str], few_shots: int = 0
    ) -> tuple[list[Conversation], dict[str, Examples], Cases]:
        """Traces by id, what retrieval gave for them, and the cases to show where some are."""
        levers = self.judge.levers
        with self.stores.warehouse.read() as connection:
            conversations = read_traces(connection, ids, levers, self.day)
            examples = read_examples(connection, self.day, ids)
            named = (i for of_it in examples.values() for i in of_it.correction_ids)
            cases = read_cases(connection, named, levers) if few_shots else Cases()
        return conversations, examples, cases

    def _watch(self, tier: Tier, start: int, n_page: int, total: int) -> Progress:
        """Progress within a page as progress of its tier; what is known already counts as done."""
        return lambda done, n: self.progress(tier, start + n_page - n + done, total)
