"""What the commands of evolution say to somebody new: one sentence, and what would have worked."""

import pytest

from flywheel.cli.main import main
from flywheel.evolution.evidence import Check, Evidence, Figure
from flywheel.evolution.proposals import Draft, propose
from flywheel.records import Interval
from flywheel.review import decide
from flywheel.store import Project
from tests.conftest import trace
from tests.judged import add_traces, said


def run(
    project: Project, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0
) -> tuple[str, str]:
    """What `flywheel evolution ...` prints and says, and that it ends with `code`."""
    project.data_dir.mkdir(parents=True, exist_ok=True)
    arguments = ["--project", str(project.folder), "evolution", *words]
    if code:
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == code
    else:
        main(arguments)
    return capsys.readouterr()


def test_a_proposal_is_shown_with_its_evidence_first_and_a_long_change_cut(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    share = Interval(0.5, 0.4, 0.6)
    evidence = Evidence(
        "Half of it.", (Figure("coverage", share, n=12),), (Check("words", False, "\u202eno"),)
    )
    text = "\n".join(f"line {i} {'x' * 300}" for i in range(200))
    draft = Draft("case", "shop.jsonl", "add", None, text, "it is wanted", evidence)
    assert propose(project.stores.ledger, draft, "a program")
    shown, told = run(project, capsys, "show", "1")
    assert shown.index("0.5 (0.4 to 0.6)") < shown.index("line 0")
    assert "FAILS  words" in shown
    assert "\u202e" not in shown
    assert "line 199" not in shown
    assert max(map(len, shown.splitlines())) <= 200
    assert "cut; whole with --json" in told
    whole, _ = run(project, capsys, "show", "1", "--json")
    assert "line 199" in whole


@pytest.mark.parametrize("command", ["select", "next"])
def test_an_unknown_application_is_told_from_one_without_labels(
    project: Project, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    add_traces(project.stores, [trace("t1", "hello", "yes", "thanks")])
    _, told = run(project, capsys, command, "--app", "nosuch", code=1)
    assert "there is no application with traces 'nosuch'; known: " in told


def test_a_day_without_traces_has_no_probes(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    add_traces(project.stores, [trace("t1", "hello", "yes", "thanks")])
    _, told = run(project, capsys, "probe", "--day", "2019-01-01", code=1)
    assert "there is no day with traces '2019-01-01'" in told


def test_cases_without_a_model_name_the_way_that_needs_none(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    _, told = run(project, capsys, "cases", "make", "records", code=1)
    assert "records" in told
    run(project, capsys, "cases", "new", "records")
    _, told = run(project, capsys, "cases", "make", "records", code=1)
    assert "--no-model" in told


def test_an_empty_week_names_the_last_one_with_decisions(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    _, told = run(project, capsys, "digest", "--week", "2026-03-02")
    assert told == ""
    add_traces(project.stores, [trace("t1", "hello", "yes", "thanks")])
    decide(project.stores.ledger, said("t1", True))
    _, told = run(project, capsys, "digest", "--week", "2019-01-07")
    week = told.strip().rpartition(" ")[2]
    shown, told = run(project, capsys, "digest", "--week", week)
    assert told == ""
    assert "1 conversation " in shown
