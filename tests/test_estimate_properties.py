"""What an estimate must not depend on, and what it must: orders, names, copies and classes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flywheel.records import Interval
from flywheel.statistics import corrected_rate, rogan_gladen, share_of_sessions
from flywheel.statistics.estimates import Floats, Ints

often = settings(max_examples=60, deadline=None, derandomize=True)
Rows = tuple[Floats, Floats, Floats, Ints]


@st.composite
def labelled(draw: st.DrawFn) -> Rows:
    """Truth (NaN where nobody labelled), the judge's score, a weight and a session of each row."""
    n = draw(st.integers(4, 40))
    of_each = draw(
        st.lists(
            st.tuples(
                st.sampled_from([0.0, 1.0, np.nan]),
                st.integers(0, 10),
                st.sampled_from([1.0, 2.0, 5.0]),
                st.integers(0, n),
            ),
            min_size=n,
            max_size=n,
        )
    )
    truth, judge, weight, sessions = (np.array(column) for column in zip(*of_each, strict=True))
    assume(not np.isnan(truth).all())
    return truth, judge / 10, weight, sessions


def numbers(interval: Interval) -> tuple[float, float, float]:
    return interval.estimate, interval.low, interval.high


def rate(rows: Rows) -> Interval:
    return corrected_rate(*rows).interval


@often
@given(rows=labelled(), seed=st.integers(0, 9))
def test_neither_the_order_of_rows_nor_names_of_sessions_matter(rows: Rows, seed: int) -> None:
    truth, judge, weight, sessions = rows
    order = np.random.default_rng(seed).permutation(len(truth))
    names = np.random.default_rng(seed).permutation(100)[sessions]
    shuffled = truth[order], judge[order], weight[order], names[order]
    assert numbers(rate(shuffled)) == pytest.approx(numbers(rate(rows)))
    counted = np.arange(len(truth)) % 2 == 0
    one = rogan_gladen(truth, judge, counted, sessions)
    other = rogan_gladen(truth[order], judge[order], counted[order], names[order])
    assert (one is None) == (other is None)
    if one and other:
        assert numbers(other) == pytest.approx(numbers(one))


@often
@given(rows=labelled())
def test_swapping_the_classes_mirrors_the_rate(rows: Rows) -> None:
    truth, judge, weight, sessions = rows
    found, other = rate(rows), rate((1 - truth, 1 - judge, weight, sessions))
    assert numbers(other) == pytest.approx((1 - found.estimate, 1 - found.high, 1 - found.low))
    counted = np.ones(len(truth), bool)
    one = rogan_gladen(truth, judge, counted, sessions)
    mirrored = rogan_gladen(1 - truth, 1 - judge, counted, sessions)
    assert (one is None) == (mirrored is None)
    if one and mirrored:
        assert mirrored.estimate == pytest.approx(1 - one.estimate)


@often
@given(rows=labelled(), factor=st.sampled_from([0.5, 3.0, 100.0]))
def test_only_the_ratio_of_weights_matters(rows: Rows, factor: float) -> None:
    truth, judge, weight, sessions = rows
    scaled = truth, judge, weight * factor, sessions
    assert numbers(rate(scaled)) == pytest.approx(numbers(rate(rows)))
    even = rate((truth, judge, np.full(len(truth), factor), sessions))
    assert numbers(even) == pytest.approx(
        numbers(rate((truth, judge, np.ones(len(truth)), sessions)))
    )


@often
@given(rows=labelled())
def test_labels_alone_of_equal_weight_give_their_share(rows: Rows) -> None:
    truth, _, _, sessions = rows
    alone = rate((truth, np.full(len(truth), 0.3), np.ones(len(truth)), sessions))
    assert alone.estimate == pytest.approx(np.nanmean(truth))


@often
@given(rows=labelled())
def test_an_interval_holds_its_estimate_and_no_copy_widens_it(rows: Rows) -> None:
    truth, _, weight, sessions = rows
    found = rate(rows)
    assert found.low <= found.estimate <= found.high
    # What is published is cut to [0, 1], and something must be left of it.
    assert found.low <= 1
    assert found.high >= 0
    # The judge unread, every session once more says the same with more certainty.
    blind = np.zeros(len(truth))
    once = rate((truth, blind, weight, sessions))
    twice = rate(tuple(np.concatenate([column, copy]) for column, copy in (
        (truth, truth), (blind, blind), (weight, weight), (sessions, sessions + 100))))  # fmt: skip
    assert twice.estimate == pytest.approx(once.estimate)
    assert twice.high - twice.low < once.high - once.low + 1e-9
    assert 0 <= once.low <= once.high <= 1


@often
@given(sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_a_share_of_sessions_mirrors_and_narrows(sizes: list[tuple[int, int]]) -> None:
    sums = np.array([(n, min(n, yes)) for n, yes in sizes], float)

    def share(n: Floats, yes: Floats) -> Interval:
        squares = float(n @ n), float(n @ yes), float(yes @ yes)
        return share_of_sessions(int(n.sum()), int(yes.sum()), len(n), *squares)

    n, yes = sums[:, 0], sums[:, 1]
    found, other = share(n, yes), share(n, n - yes)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert numbers(other) == pytest.approx((1 - found.estimate, 1 - found.high, 1 - found.low))
    twice = share(np.tile(n, 2), np.tile(yes, 2))
    assert twice.estimate == pytest.approx(found.estimate)
    assert twice.high - twice.low < found.high - found.low + 1e-9
