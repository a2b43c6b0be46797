"""The week's digest: counts, reasons, corrections and modes; quotes that are nothing but quotes."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from flywheel.cli.main import main
from flywheel.errors import BadInput
from flywheel.evolution.failures.digest import plain, write_digest
from flywheel.evolution.failures.modes import find_modes
from flywheel.quality.alerts import check_alerts
from flywheel.quality.announcing import announce
from flywheel.review import decide, undo
from flywheel.settings import AlertRule
from flywheel.store import Project
from flywheel.store.publications import read_published
from tests.conftest import trace
from tests.failing import add_flagged, failing
from tests.hashing import HashingEmbedder
from tests.judged import add_traces, said

MONDAY = date(2026, 3, 23)
# A Wednesday of the week after.
AT = datetime(2026, 4, 1, 12, tzinfo=UTC)
IN_WEEK = datetime(2026, 3, 25, 9, tzinfo=UTC)
HOSTILE = "[click](http://evil.example) <img src=x> www.evil.example `x` | cell"


@pytest.fixture
def decided(project: Project) -> Project:
    """Five decisions in the week, one of them taken back, and two in the week before."""
    names = [f"t{i}" for i in range(8)]
    add_traces(project.stores, [trace(n, "a", "b", "c", app="desk") for n in names])
    ledger = project.stores.ledger
    fixed = {"corrected_turn": 1, "corrected_text": HOSTILE, "reason": "wrong\nprice"}
    decide(ledger, said("t0", perceived_error=True, decided_at=IN_WEEK, **fixed))
    decide(ledger, said("t1", perceived_error=True, decided_at=IN_WEEK, reason_code="rejection"))
    decide(ledger, said("t2", perceived_error=False, decided_at=IN_WEEK, reviewer="bob"))
    decide(ledger, said("t3", perceived_error=True, decided_at=IN_WEEK))
    undo(ledger, "ann")
    for name in ("t4", "t5"):
        before = IN_WEEK - timedelta(days=7)
        decide(ledger, said(name, perceived_error=True, decided_at=before))
    # The week that has not ended is of the next digest.
    decide(ledger, said("t6", perceived_error=True, decided_at=AT))
    return project


def test_the_week_is_the_last_one_that_has_ended(decided: Project) -> None:
    made = write_digest(decided.stores, AT)
    assert (made.monday, made.week) == (MONDAY, "2026-W13")
    assert (made.n_decisions, made.n_errors, made.n_corrections) == (3, 2, 1)
    assert made.summary == (
        "From 2026-03-23 to 2026-03-29 2 people decided on 3 conversations (2 the week before): "
        "2 with an error (2), 1 answer corrected. Most often: correction 1, rejection 1."
    )
    assert made.markdown.startswith("# Week 2026-W13\n")
    assert "| correction | 1 | 2 |" in made.markdown
    assert "| rejection | 1 | 0 |" in made.markdown
    assert write_digest(decided.stores, AT, MONDAY - timedelta(days=7)).n_decisions == 2
    with pytest.raises(BadInput, match="begins on a Monday"):
        write_digest(decided.stores, AT, MONDAY + timedelta(days=1))


def test_quotes_are_no_markup_and_are_not_sent(decided: Project) -> None:
    made = write_digest(decided.stores, AT)
    assert (
        "\\[click\\]\\(http ://evil.example\\) \\<img src=x\\> www .evil.example" in made.markdown
    )
    assert "\\`x\\` \\| cell" in made.markdown
    assert "“wrong price”" in made.markdown
    assert "evil" not in made.summary
    assert plain("# a\n- b") == "\\# a - b"


def test_a_week_without_decisions_says_so(project: Project) -> None:
    made = write_digest(project.stores, AT)
    assert "0 people decided on 0 conversations" in made.markdown
    assert "##" not in made.markdown


def test_modes_that_are_new_or_rise_are_in_it(project: Project) -> None:
    add_flagged(project.stores, [failing("refund", i) for i in range(9)])
    (mode,) = find_modes(project.stores, project.settings, HashingEmbedder(), at=AT).modes
    made = write_digest(project.stores, AT)
    assert f"New failure modes: “{mode.name}”." in made.summary
    assert f"- new: {mode.name}: 9 conversations, by week 0, 0, 0, 9" in made.markdown
    # One of long ago is no news.
    assert "failure modes" not in write_digest(project.stores, AT + timedelta(days=30)).summary


def test_it_is_told_once(decided: Project) -> None:
    rules = {"week": AlertRule(when="digest")}
    assert check_alerts(decided.stores, rules, AT) == []
    made = write_digest(decided.stores, AT)
    (told,) = announce(decided.stores, rules, AT).fired
    assert (told.subject, told.why) == ("week 2026-W13", made.summary)
    write_digest(decided.stores, AT)
    assert announce(decided.stores, rules, AT).fired == []


def test_what_is_published_names_its_traces_for_forgetting(decided: Project) -> None:
    write_digest(decided.stores, AT)
    assert json.loads(read_published(decided.stores, "digest"))["traces"] == ["t0"]


def test_the_command_prints_markdown(decided: Project, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(decided.folder)
    main(["--project", folder, "evolution", "digest", "--week", "2026-03-23"])
    assert capsys.readouterr().out.startswith("# Week 2026-W13\n")
