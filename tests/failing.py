"""Made-up conversations that fail in known ways, judged, for tests of failure modes."""

from collections.abc import Sequence
from datetime import date, timedelta

from flywheel.records import unit_hash
from flywheel.store import Stores
from tests.conftest import trace
from tests.judged import DAY, add_scores, add_traces

# Ways of failing: what is asked, and what is objected; each made of words of its own.
WAYS = {
    "refund": ("refund money order back", "refund money back not credit"),
    "german": ("schreib mir etwas auf deutsch", "bitte auf deutsch antworten nicht englisch"),
    "code": ("write python function sort list", "python function raises error traceback again"),
}
LAST = DAY + timedelta(days=27)


def failing(way: str, number: int, session: str = "") -> dict[str, object]:
    """A conversation that fails in this way; two words of its own."""
    asked, objected = WAYS[way]
    name = f"{way}-{number:03}"
    return trace(
        name,
        f"{asked} thing{number}",
        "Here.",
        f"{objected} item{number}",
        "Sorry.",
        session_id=session or f"session-{name}",
    )


def lonely(number: int) -> dict[str, object]:
    """A conversation that fails like no other."""
    own = [f"w{number}x{i}" for i in range(8)]
    name = f"alone-{number:03}"
    return trace(name, " ".join(own[:4]), "Here.", " ".join(own[4:]), "Sorry.")


def add_flagged(stores: Stores, traces: Sequence[dict[str, object]], day: date = LAST) -> None:
    """Load these conversations; the judge sees an error in them, and in none of 30 others."""
    fine = [trace(f"fine-{day}-{i}", "hello", "Hi.", "thanks") for i in range(30)]
    add_traces(stores, [*traces, *fine], day)
    flagged = {str(one["trace_id"]): 0.9 for one in traces}
    others = {str(one["trace_id"]): 0.2 * unit_hash(str(one["trace_id"]), "p") for one in fine}
    add_scores(stores, flagged | others, day)
