"""What models that are paid for have spent: `judge_calls` and `judge_budgets` of the ledger.

A request in, a row that counts against the day's budget out, before the request is sent. The one
idea is that a call is first counted at the most that it can cost, and at what it did cost once that
is known: whoever is killed in between has spent too little of the budget and never too much.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from flywheel.models.chat import Prompt
from flywheel.settings import GenerativeSettings
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import judge_budgets, judge_calls

Outcome = Literal["ok", "unparsed", "refused", "failed"]

# What a chat template puts around a message and a server before them all, in tokens.
TEMPLATE_TOKENS = 16
# Of English text a token has four bytes or more, of code and JSON about three.
LIKELY_BYTES_PER_TOKEN = 3
# Sums of floats differ in their last digits from the sum on paper.
_ROUNDING_USD = 1e-9

_TODAY = sa.and_(
    judge_budgets.c.judge == sa.bindparam("of_judge"), judge_budgets.c.day == sa.bindparam("on_day")
)
_RESERVE = (
    judge_budgets.update()
    .where(_TODAY, judge_budgets.c.usd + sa.bindparam("more") <= sa.bindparam("limit"))
    .values(usd=judge_budgets.c.usd + sa.bindparam("more"))
)
_CORRECT = (
    judge_budgets.update().where(_TODAY).values(usd=judge_budgets.c.usd + sa.bindparam("more"))
)
_CALL = judge_calls.insert().returning(judge_calls.c.call_id, sort_by_parameter_order=True)
_SETTLE = judge_calls.update().where(judge_calls.c.call_id == sa.bindparam("of_call"))


@dataclass(frozen=True, slots=True)
class Prices:
    """What tokens cost, in USD per million."""

    prompt: float
    completion: float

    def cost_usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The price of one call."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


@dataclass(frozen=True, slots=True)
class Reserve:
    """A call that somebody wants to make, at the most that it can cost."""

    input_hash: str
    most_usd: float


@dataclass(frozen=True, slots=True)
class Call:
    """A call that may be made; it counts against the budget of its UTC day."""

    call_id: int
    day: date
    most_usd: float


@dataclass(frozen=True, slots=True)
class Settle:
    """How a call ended, and what it cost."""

    call: Call
    outcome: Outcome
    cost_usd: float
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_ms: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a judge's calls of one UTC day come to; those that still run count at their most."""

    usd: float = 0.0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    by_outcome: dict[str, int] = field(default_factory=dict)


class Budget:
    """The money of one judge: any number of threads and processes share a day's."""

    def __init__(
        self,
        ledger: Ledger,
        judge: str,
        judge_version: str,
        settings: GenerativeSettings,
        clock: Callable[[], datetime] = now,
    ):
        self.prices = Prices(
            settings.usd_per_million_prompt_tokens, settings.usd_per_million_completion_tokens
        )
        self.daily_usd = settings.daily_usd
        self._ledger = ledger
        self._judge = judge
        self._version = judge_version
        self._clock = clock

    def record(self, changes: Sequence[Reserve | Settle]) -> list[Call | None]:
        """Commit what is to be called and what has ended, all of it in one transaction.

        One entry a change: the call of a `Reserve`, or None where it would pass the budget; None
        for each `Settle`. What has ended is written first, so that its rest can be spent.
        """
        with self._ledger.begin() as connection:
            self._settle(connection, [change for change in changes if isinstance(change, Settle)])
            wishes = [change for change in changes if isinstance(change, Reserve)]
            calls = iter(self._reserve(connection, wishes))
        return [next(calls) if isinstance(change, Reserve) else None for change in changes]

    def _settle(self, connection: sa.Connection, ends: Sequence[Settle]) -> None:
        more_of_day: defaultdict[date, float] = defaultdict(float)
        for end in ends:
            more_of_day[end.call.day] += end.cost_usd - end.call.most_usd
        # Whoever changes two days does so in their order, and nobody deadlocks.
        for day, more in sorted(more_of_day.items()):
            of_day = {"of_judge": self._judge, "on_day": day, "more": more}
            connection.execute(_CORRECT, of_day)
        rows = [
            {
                "of_call": end.call.call_id,
                "outcome": end.outcome,
                "why": end.why or None,
                "prompt_tokens": end.prompt_tokens,
                "completion_tokens": end.completion_tokens,
                "cost_usd": end.cost_usd,
                "latency_ms": end.latency_ms,
            }
            for end in ends
        ]
        if rows:
            connection.execute(_SETTLE, rows)

    def _reserve(self, connection: sa.Connection, wishes: Sequence[Reserve]) -> list[Call | None]:
        called_at = self._clock()
        day = called_at.astimezone(UTC).date()
        fits = self._fitting(connection, day, [wish.most_usd for wish in wishes])
        rows = [
            {
                "judge": self._judge,
                "judge_version": self._version,
                "input_hash": wish.input_hash,
                "outcome": "running",
                "prompt_tokens": 0,
                "completion_tokens": 0,
                "cost_usd": wish.most_usd,
                "called_at": called_at,
            }
            for wish, is_fitting in zip(wishes, fits, strict=True)
            if is_fitting
        ]
        numbers = iter(connection.scalars(_CALL, rows).all() if rows else [])
        return [
            Call(next(numbers), day, wish.most_usd) if is_fitting else None
            for wish, is_fitting in zip(wishes, fits, strict=True)
        ]

    def _fitting(
        self, connection: sa.Connection, day: date, most_usd: Sequence[float]
    ) -> list[bool]:
        """Which of these the day's budget has room for, and takes it: all at once where it can."""
        if not any(most_usd) or self._may_spend(connection, day, sum(most_usd)):
            return [True] * len(most_usd)
        return [not usd or self._may_spend(connection, day, usd) for usd in most_usd]

    def _may_spend(self, connection: sa.Connection, day: date, most_usd: float) -> bool:
        values = {"of_judge": self._judge, "on_day": day, "more": most_usd}
        values["limit"] = self.daily_usd + _ROUNDING_USD
        if connection.execute(_RESERVE, values).rowcount:
            return True
        # The first call of a day finds no row, and makes it where no other process does so now.
        insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
        first = {"judge": self._judge, "day": day, "usd": 0.0}
        connection.execute(insert(judge_budgets).values(first).on_conflict_do_nothing())
        return bool(connection.execute(_RESERVE, values).rowcount)


def most_prompt_tokens(prompt: Prompt) -> int:
    """More tokens than a prompt can have: no tokenizer in use makes two of one byte of UTF-8."""
    return _bytes_of(prompt) + TEMPLATE_TOKENS * (1 + len(prompt.messages))


def likely_prompt_tokens(prompt: Prompt) -> int:
    """About as many tokens as a prompt has, rather too many than too few for most languages."""
    around = TEMPLATE_TOKENS * (1 + len(prompt.messages))
    return _bytes_of(prompt) // LIKELY_BYTES_PER_TOKEN + around


def spent_today(ledger: Ledger, judge: str) -> Spent:
    """What the judge of this name has spent since midnight UTC, over all processes."""
    with ledger.read() as connection:
        return spent_on(connection, judge, now().date())


def spent_on(connection: sa.Connection, judge: str, day: date) -> Spent:
    """What the judge of this name spent on a UTC day."""
    midnight = datetime.combine(day, time(), UTC)
    calls = judge_calls.c
    rows = connection.execute(
        sa.select(
            calls.outcome,
            sa.func.count(),
            sa.func.sum(calls.cost_usd),
            sa.func.sum(calls.prompt_tokens),
            sa.func.sum(calls.completion_tokens),
        )
        .where(calls.judge == judge)
        .where(calls.called_at >= midnight, calls.called_at < midnight + timedelta(days=1))
        .group_by(calls.outcome)
        .order_by(calls.outcome)
    ).all()
    return Spent(
        sum(float(usd) for _, _, usd, _, _ in rows),
        sum(int(n) for _, n, _, _, _ in rows),
        sum(int(n) for _, _, _, n, _ in rows),
        sum(int(n) for _, _, _, _, n in rows),
        {str(outcome): int(n) for outcome, n, _, _, _ in rows},
    )


def _bytes_of(prompt: Prompt) -> int:
    return sum(len(message.content.encode("utf-8", "replace")) for message in prompt.messages)
