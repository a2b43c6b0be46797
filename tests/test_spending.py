"""What paid models spend: nothing passes the day's budget, whoever calls and however it ends."""

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from tokenizers import Tokenizer

from flywheel.models.chat import Message, Prompt, ReplyShape
from flywheel.models.embedder import BUNDLED, model_folder
from flywheel.models.spending import (
    Budget,
    Call,
    Reserve,
    Settle,
    likely_prompt_tokens,
    most_prompt_tokens,
    spent_on,
    spent_today,
)
from flywheel.settings import GenerativeSettings
from flywheel.store.ledger import Ledger
from flywheel.store.tables import judge_budgets, judge_calls

JUDGE = "paid"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Clock:
    """A clock that a test sets."""

    def __init__(self, at: datetime = NOON):
        self.at = at

    def __call__(self) -> datetime:
        return self.at


def budget_of(ledger: Ledger, daily_usd: float, clock: Clock | None = None) -> Budget:
    settings = GenerativeSettings(
        daily_usd=daily_usd,
        usd_per_million_prompt_tokens=1.0,
        usd_per_million_completion_tokens=4.0,
    )
    return Budget(ledger, JUDGE, "v1", settings, clock or Clock())


def reserve(budget: Budget, most_usd: float) -> Call | None:
    return budget.record([Reserve("hash", most_usd)])[0]


def booked(ledger: Ledger) -> float:
    """The sum that the budget goes by."""
    with ledger.read() as connection:
        return float(connection.scalar(sa.select(sa.func.sum(judge_budgets.c.usd))) or 0.0)


def test_a_call_counts_at_its_most_until_its_price_is_known(ledger: Ledger) -> None:
    budget = budget_of(ledger, daily_usd=1.0)
    call = reserve(budget, 0.4)
    assert call is not None
    with ledger.read() as connection:
        running = spent_on(connection, JUDGE, NOON.date())
    assert (running.usd, running.by_outcome) == (0.4, {"running": 1})
    # 1,000 tokens at 1 USD and 50 at 4 USD a million: 0.001 + 0.0002.
    cost_usd = budget.prices.cost_usd(1000, 50)
    budget.record([Settle(call, "ok", cost_usd, 1000, 50, 12.5)])
    with ledger.read() as connection:
        settled = spent_on(connection, JUDGE, NOON.date())
    assert settled.usd == pytest.approx(0.0012)
    assert (settled.calls, settled.prompt_tokens, settled.completion_tokens) == (1, 1000, 50)
    assert settled.by_outcome == {"ok": 1}
    assert booked(ledger) == pytest.approx(0.0012)


def test_a_budget_is_spent_to_the_last_call_that_fits_and_no_further(ledger: Ledger) -> None:
    budget = budget_of(ledger, daily_usd=1.0)
    calls = [reserve(budget, 0.1) for _ in range(12)]
    assert [call is not None for call in calls] == [True] * 10 + [False] * 2
    assert booked(ledger) == pytest.approx(1.0)
    # What the first did not need is there for another.
    assert calls[0] is not None
    budget.record([Settle(calls[0], "ok", 0.02)])
    assert reserve(budget, 0.1) is None
    assert reserve(budget, 0.08) is not None


def test_what_has_ended_makes_room_for_what_begins_in_the_same_transaction(ledger: Ledger) -> None:
    budget = budget_of(ledger, daily_usd=1.0)
    first = reserve(budget, 1.0)
    assert first is not None
    second, none = budget.record([Reserve("next", 0.9), Settle(first, "failed", 0.0)])
    assert second is not None
    assert none is None


def test_of_calls_together_those_that_fit_may_be_made(ledger: Ledger) -> None:
    budget = budget_of(ledger, daily_usd=1.0)
    wishes = [Reserve("first", 0.6), Reserve("second", 0.6), Reserve("third", 0.3)]
    first, second, third = budget.record(wishes)
    assert first is not None
    assert second is None
    assert third is not None
    with ledger.read() as connection:
        rows = connection.execute(sa.select(judge_calls.c.call_id, judge_calls.c.input_hash)).all()
    assert dict(map(tuple, rows)) == {first.call_id: "first", third.call_id: "third"}
    assert booked(ledger) == pytest.approx(0.9)


def test_the_next_utc_day_has_a_budget_of_its_own(ledger: Ledger) -> None:
    clock = Clock(datetime(2026, 3, 2, 23, 59, 59, tzinfo=UTC))
    budget = budget_of(ledger, daily_usd=1.0, clock=clock)
    late = reserve(budget, 1.0)
    assert late is not None
    assert reserve(budget, 1.0) is None
    clock.at += timedelta(seconds=1)
    assert reserve(budget, 1.0) is not None
    # The first ends after midnight, and gives back to the day that it was taken from.
    budget.record([Settle(late, "ok", 0.25)])
    assert reserve(budget, 0.1) is None
    with ledger.read() as connection:
        assert spent_on(connection, JUDGE, late.day).usd == 0.25
        assert spent_on(connection, JUDGE, clock.at.date()).usd == 1.0


def test_no_limit_applies_where_nothing_is_paid(ledger: Ledger) -> None:
    budget = budget_of(ledger, daily_usd=0.0)
    assert all(reserve(budget, 0.0) is not None for _ in range(3))
    assert reserve(budget, 1e-6) is None
    assert booked(ledger) == 0.0


def test_judges_do_not_share_a_budget(ledger: Ledger) -> None:
    settings = GenerativeSettings(daily_usd=1.0)
    for name in ("one", "other"):
        assert reserve(Budget(ledger, name, "v1", settings), 1.0) is not None
    assert spent_today(ledger, "one").usd == 1.0
    assert spent_today(ledger, "nobody").calls == 0


def test_a_call_of_a_killed_process_counts_until_its_day_ends(ledger: Ledger) -> None:
    killed = multiprocessing.get_context("spawn").Process(
        target=_reserve_and_die, args=(ledger.url,)
    )
    killed.start()
    killed.join(60)
    assert killed.exitcode == -9
    assert reserve(budget_of(ledger, daily_usd=1.0), 0.5) is None
    assert reserve(budget_of(ledger, daily_usd=1.0, clock=Clock(NOON + timedelta(days=1))), 0.5)
    with ledger.read() as connection:
        assert spent_on(connection, JUDGE, NOON.date()).by_outcome == {"running": 1}


def test_eight_processes_share_a_budget_without_passing_it(ledger: Ledger) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(8, mp_context=spawn) as pool:
        counts = list(pool.map(_spend_all, [ledger.url] * 8))
    # Every call costs what it reserves or half of it: the day's sum ends at most one call short.
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(judge_calls.c.cost_usd).where(judge_calls.c.cost_usd > 0)
        ).all()
    assert sum(counts) == len(rows)
    assert 1.0 - 0.02 < sum(row.cost_usd for row in rows) <= 1.0 + 1e-9
    assert booked(ledger) == pytest.approx(sum(row.cost_usd for row in rows))


def test_a_prompt_has_at_most_one_token_a_byte() -> None:
    tokenizer = Tokenizer.from_file(str(model_folder(BUNDLED) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = ("", "12345678" * 20, "Zażółć gęślą jaźń", "漢字かな交じり文", "🙂🏴‍☠️", "{}[]()<>;;")
    for text in texts:
        prompt = Prompt("", (Message("user", text),), ReplyShape("label"))
        assert len(tokenizer.encode(text).ids) <= most_prompt_tokens(prompt)
        assert likely_prompt_tokens(prompt) <= most_prompt_tokens(prompt)


def _reserve_and_die(url: str) -> None:
    reserve(budget_of(Ledger(url), daily_usd=1.0), 0.6)
    os.kill(os.getpid(), signal.SIGKILL)


def _spend_all(url: str) -> int:
    """Call until the budget refuses; every other call costs half of what it might."""
    ledger = Ledger(url)
    budget = budget_of(ledger, daily_usd=1.0)
    n_calls = 0
    while call := reserve(budget, 0.02):
        budget.record([Settle(call, "ok", 0.02 if n_calls % 2 else 0.01)])
        n_calls += 1
    ledger.close()
    return n_calls
