"""What a judge says of labels that it has learnt is no evidence: then only the holdout speaks."""

from collections.abc import Iterable
from datetime import timedelta

import pyarrow.compute as pc
import pytest

from flywheel.corrections import derive_labels
from flywheel.quality import compare_judges, estimate_rates, judge_agreement
from flywheel.quality.audit import judged_traces
from flywheel.records import split_of, unit_hash
from flywheel.registry import register
from flywheel.review import decide
from flywheel.store import Project, Stores
from tests.conftest import trace
from tests.judged import DAY, add_scores, add_traces, said

NAMES = [f"t{number:03}" for number in range(300)]
HELD = [name for name in NAMES if split_of(f"session-{name}") == "holdout"]


def is_error(name: str) -> bool:
    """What a person would say: an error in about a fifth of the traces."""
    return unit_hash(name, "truth") < 0.2


def by_heart(name: str) -> float:
    """A judge that knows what it has learnt by heart, and nothing of the holdout."""
    knows = is_error(name) if name not in HELD else unit_hash(name, "guess") < 0.5
    return 0.9 if knows else 0.1


def judged(stores: Stores, judge: str, names: Iterable[str] = NAMES, days_on: int = 0) -> None:
    day = DAY + timedelta(days_on)
    add_scores(stores, {name: by_heart(name) for name in names}, day, judge=judge)


def learnt(stores: Stores, version: str, names: Iterable[str], **more: str) -> None:
    """A version of the judge whose manifest says that it was fitted on the labels of these."""
    with stores.warehouse.open() as connection:
        of_trace = dict(connection.raw.sql("select trace_id, correction_id from labels").fetchall())
    taught = [of_trace[name] for name in names if name not in HELD]
    manifest = {"corrections": taught} | more
    register(stores.ledger, "judge", version, manifest, version, None, "test")


@pytest.fixture
def stores(project: Project) -> Stores:
    """A day of which everything is labelled, as an audit."""
    stores = project.stores
    add_traces(stores, [trace(name, "hi", "hello", "no") for name in NAMES])
    for name in NAMES:
        decide(stores.ledger, said(name, is_error(name), is_audit=True))
    derive_labels(stores)
    return stores


@pytest.mark.parametrize(
    "judge",
    ["judge-a/frozen", "judge-a-bfloat16/frozen", "judge-a+generative-b/generative"],
)
def test_a_judge_that_learnt_the_days_labels_is_measured_on_the_holdout(
    stores: Stores, judge: str
) -> None:
    judged(stores, judge)
    in_sample = judge_agreement(stores)
    learnt(stores, "judge-a", NAMES[:200])
    measured = judge_agreement(stores)
    assert (in_sample.n, measured.n) == (len(NAMES), len(HELD))
    right = sum((by_heart(name) >= 0.5) == is_error(name) for name in HELD)
    assert measured.rates["accuracy"].estimate == pytest.approx(right / len(HELD))
    assert measured.rates["accuracy"].high < in_sample.rates["accuracy"].low
    [rate, *_] = estimate_rates(stores)
    assert (rate.method, rate.n_traces, rate.n_labels) == ("ppi++", len(HELD), len(HELD))


def test_a_causal_judge_that_learnt_the_days_labels_is_measured_on_the_holdout(
    stores: Stores,
) -> None:
    judged(stores, "judge-a+generative-b+adapter-0123456789ab/generative")
    learnt(stores, "reader-ffff56789abc", NAMES, target_kind="chat-judge")
    assert judge_agreement(stores).n == len(NAMES)
    # A run names the adapter by its weights, as its version does.
    learnt(stores, "reader-0123456789ab", NAMES[:200], target_kind="chat-judge")
    assert judge_agreement(stores).n == len(HELD)
    add_scores(stores, dict.fromkeys(NAMES, 0.1), judge="judge-c/frozen")
    pair = "judge-c/frozen", "judge-a+generative-b+adapter-0123456789ab"
    assert compare_judges(stores, *pair).n_traces == len(HELD)


def test_a_day_is_as_it_was_where_its_judge_learnt_other_days_or_another_judge_learnt_it(
    stores: Stores,
) -> None:
    later = [f"u{number}" for number in range(50)]
    add_traces(stores, [trace(name, "hi", "hello", "no") for name in later], DAY + timedelta(1))
    judged(stores, "judge-a/frozen")
    judged(stores, "judge-b/frozen", later, days_on=1)
    learnt(stores, "judge-b", NAMES)
    assert judged_traces(stores).num_rows == 350
    learnt(stores, "judge-a", NAMES[:5])
    rows = judged_traces(stores)
    of_day = pc.equal(rows["day"], DAY)
    assert rows.filter(of_day).num_rows == len(HELD)
    assert rows.filter(pc.invert(of_day)).num_rows == 50


def test_a_label_that_was_learnt_stays_so_when_somebody_else_confirms_it(stores: Stores) -> None:
    judged(stores, "judge-a/frozen")
    learnt(stores, "judge-a", NAMES)
    for name in NAMES:
        decide(stores.ledger, said(name, is_error(name), "bob", is_audit=True))
    derive_labels(stores)
    assert judge_agreement(stores).n == len(HELD)


@pytest.mark.parametrize("order", [("judge-a", "judge-b"), ("judge-b/frozen", "judge-a/frozen")])
def test_two_judges_are_compared_on_what_neither_has_learnt(
    stores: Stores, order: tuple[str, str]
) -> None:
    add_scores(stores, dict.fromkeys(NAMES, 0.1), judge="judge-b/frozen")
    judged(stores, "judge-a/frozen")
    assert compare_judges(stores, *order).n_traces == len(NAMES)
    learnt(stores, "judge-a", NAMES[:200])
    found = compare_judges(stores, *order)
    assert (found.n_traces, found.n_labels) == (len(HELD), len(HELD))
