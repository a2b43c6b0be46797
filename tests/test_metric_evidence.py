"""What a metric is worth on labels, and the rule by which one may go."""

import numpy as np
import pytest

from flywheel.errors import Refused
from flywheel.evolution.metric_set.backtest import alignment_gain, backtest
from flywheel.evolution.metric_set.evidence import evidence_of_removal
from flywheel.evolution.metric_set.labelled import Labels, Said
from flywheel.judge.people import Bools, people_of


def labels(truth: Bools, per_session: int = 1) -> Labels:
    """Labels of traces that stand so many in a session."""
    n = len(truth)
    names = tuple(f"t{i}" for i in range(n))
    same = ("x",) * n
    people = people_of(truth, [f"s{i // per_session}" for i in range(n)])
    return Labels(people, names, same, same, ("holdout",) * n, same, same)


def said(against: Bools) -> Said:
    return Said(against, np.ones(len(against), bool), against.astype(float))


def rows(n: int, *places: int) -> Bools:
    found = np.zeros(n, bool)
    found[list(places)] = True
    return found


def test_coverage_false_failures_and_alignment_are_those_of_the_papers() -> None:
    # 8 of 10 errors are found, and 3 of 30 others are spoken against.
    truth = rows(40, *range(10))
    found = backtest(said(rows(40, *range(8), 10, 11, 12)), labels(truth))
    assert (found.n_found, found.n_errors, found.n_false, found.n_fine) == (8, 10, 3, 30)
    assert found.coverage is not None
    assert (found.coverage.estimate, round(found.coverage.low, 2)) == (0.8, 0.49)
    # 2 * .8 * .9 / 1.7
    assert found.alignment is not None
    assert found.alignment.estimate == pytest.approx(0.847, abs=0.001)
    # (40 * 8 - 10 * 11) / sqrt(10 * 30 * 11 * 29)
    assert found.correlation is not None
    assert found.correlation.estimate == pytest.approx(0.679, abs=0.001)


def test_a_session_of_ten_alike_is_worth_one_label() -> None:
    truth = np.arange(100) % 20 < 10
    against = truth & (np.arange(100) % 40 < 20)
    alone, together = (backtest(said(against), labels(truth, n)).coverage for n in (1, 10))
    assert alone is not None
    assert together is not None
    assert alone.estimate == together.estimate == 0.6
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_few_labels_have_no_shares_and_a_constant_metric_no_correlation() -> None:
    few = backtest(said(rows(40, 1)), labels(rows(40, 1, 2, 3, 4)))
    assert (few.coverage, few.alignment, few.correlation) == (None, None, None)
    constant = backtest(said(rows(40)), labels(rows(40, *range(10))))
    assert constant.correlation is None
    assert constant.coverage is not None
    assert constant.coverage.estimate == 0


def test_a_gain_that_sessions_drawn_again_do_not_bear_out_has_zero_in_its_interval() -> None:
    truth = rows(60, *range(20))
    before, slightly, much = rows(60, *range(10)), rows(60, *range(11)), rows(60, *range(19))
    small = alignment_gain(said(slightly), said(before), labels(truth))
    large = alignment_gain(said(much), said(before), labels(truth))
    assert 0 < small.estimate < 0.05
    assert small.low <= 0
    assert large.low > 0


N = 400
TRUTH = rows(N, *range(0, N, 4))
# As often among errors as among others.
AT_RANDOM = rows(N, *range(0, N, 40), *range(1, N, 40), *range(2, N, 40), *range(3, N, 40))


def test_a_metric_that_goes_with_nothing_and_finds_nothing_alone_may_go() -> None:
    evidence = evidence_of_removal(
        "noise", said(AT_RANDOM), {"good": said(TRUTH)}, labels(TRUTH), ["a note"]
    )
    assert evidence.holds
    assert "finds none of 100 errors alone" in evidence.sentence
    assert [figure.name for figure in evidence.figures if figure.after is not None] == [
        "errors that only it finds"
    ]


@pytest.mark.parametrize(
    ("against", "others", "why"),
    [
        # Subsumed, and it finds half of the errors.
        (TRUTH & (np.arange(N) % 8 == 0), TRUTH, "correlation with the outcome is 0"),
        # No correlation, and nothing else finds its errors.
        (AT_RANDOM, TRUTH & ~AT_RANDOM, "only it finds 10 % of 100 errors"),
    ],
)
def test_a_metric_stays_where_either_part_of_the_rule_is_missing(
    against: Bools, others: Bools, why: str
) -> None:
    with pytest.raises(Refused, match=why):
        evidence_of_removal("some", said(against), {"other": said(others)}, labels(TRUTH), [])


def test_too_few_labels_remove_nothing() -> None:
    few = slice(0, 40)
    with pytest.raises(Refused, match="too few labels"):
        evidence_of_removal(
            "noise", said(AT_RANDOM[few]), {"good": said(TRUTH[few])}, labels(TRUTH[few]), []
        )
