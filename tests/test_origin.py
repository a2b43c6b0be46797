"""Where the error of one trace starts: by a mark, by a step that failed, by what marks taught."""

from dataclasses import replace

import pytest
from click.testing import CliRunner

from flywheel.cli.main import cli
from flywheel.errors import NotEnough
from flywheel.evolution.call_graph.attribution import fit_attributor
from flywheel.evolution.call_graph.origin import OriginTally, origin_of
from flywheel.evolution.call_graph.publishing import make_graphs
from flywheel.evolution.call_graph.runs import Run
from flywheel.evolution.call_graph.walks import WalkTally
from flywheel.store import Project
from flywheel.web.app import create_app
from tests.judged import DAY, add_scores, add_traces
from tests.signed_in import add_person, client_of
from tests.test_call_graph import MODEL, SEARCH, marked_run, run, under

TAUGHT = fit_attributor([marked_run(f"r{i}", 1 + i % 4) for i in range(40)])
UNTAUGHT = fit_attributor([])


def test_a_mark_goes_before_a_step_that_failed_by_itself() -> None:
    failed = run(under(MODEL, None), under(SEARCH, 0, True), failed=True, told_by="label")
    seen = origin_of(replace(failed, blamed=0), TAUGHT)
    assert (seen.how, seen.suspects[0].step, seen.suspects[0].probability) == ("marked", 0, 1.0)
    unseen = origin_of(failed, TAUGHT)
    assert (unseen.how, unseen.suspects[0].node) == ("failed step", "tool:search")


def test_what_marks_taught_names_the_step_of_an_unmarked_trace() -> None:
    unmarked = replace(marked_run("new", 3), blamed=None)
    quiet = replace(unmarked, steps=tuple(replace(s, is_error=False) for s in unmarked.steps))
    found = origin_of(quiet, TAUGHT)
    assert (found.how, found.suspects[0].step, found.n_marked) == ("learnt", 5, 40)
    assert len(found.suspects) == 5
    assert "40 labels" in found.sentence


def test_without_any_mark_all_steps_but_the_users_are_alike_and_that_is_said() -> None:
    found = origin_of(replace(marked_run("new", 9), blamed=None), UNTAUGHT)
    assert {one.probability for one in found.suspects} == {1 / 8}
    assert found.how == "unknown"
    assert "evidence_turn" in found.sentence


def test_a_trace_without_steps_is_one_sentence() -> None:
    with pytest.raises(NotEnough, match="0 steps in the trace t1"):
        origin_of(Run("shop", "t1", "t1", ()), TAUGHT)


def test_of_many_failed_traces_the_surest_are_kept() -> None:
    begun = OriginTally(TAUGHT)
    runs = [replace(marked_run(f"t{i:03}", 9), blamed=None) for i in range(300)]
    sure = run(under(MODEL, None), under(SEARCH, 0, True), name="sure", failed=True)
    assert len(list(begun.watch([*runs, sure]))) == 301
    assert begun.surest()[0].trace_id == "sure"
    assert len(begun.surest()) == 12


def test_traces_whose_step_is_named_come_after_those_where_it_is_not() -> None:
    begun = OriginTally(TAUGHT)
    unmarked = replace(marked_run("b", 9), blamed=None)
    list(begun.watch([marked_run("a", 3), unmarked, replace(unmarked, failed=False)]))
    assert [(one.trace_id, one.how) for one in begun.surest()] == [("b", "learnt"), ("a", "marked")]


def test_a_walk_is_right_up_to_the_step_that_a_label_names() -> None:
    walks = WalkTally()
    walks.add(run(under(MODEL, None), under(SEARCH, 0), failed=True, told_by="label", blamed=1))
    (walk,) = walks.commonest(5)
    assert [step.right.estimate for step in walk.steps] == [1.0, 0.0]
    assert [step.started.estimate for step in walk.steps] == [0.0, 1.0]


def fill(project: Project) -> None:
    turns = [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "name": "find"}]},
        {"role": "tool", "content": "Error: no such parcel", "tool_call_id": "c"},
        {"role": "assistant", "content": "It is on its way."},
    ]
    given = {"app": "shop", "session_id": "s1", "messages": turns}
    add_traces(project.stores, [{"trace_id": "t1", **given}])
    add_scores(project.stores, {"t1": 0.9})


def test_the_command_and_the_page_name_the_step(project: Project) -> None:
    fill(project)
    said = CliRunner().invoke(cli, ["--project", str(project.folder), "evolution", "origin", "t1"])
    assert said.exit_code == 0
    assert "a verdict sees an error; the step failed by itself" in said.output
    assert "tool:find" in said.output
    make_graphs(project.stores, project.settings.evolution)
    add_person(project, "ada", "engineer")
    html = client_of(create_app(project), "ada").get("/graph").text
    assert 'href="/traces/t1"' in html
    assert "step 2 of 4" in html
    assert str(DAY) in html


def test_an_unknown_trace_is_not_found(project: Project) -> None:
    project.data_dir.mkdir(parents=True)
    said = CliRunner().invoke(cli, ["--project", str(project.folder), "evolution", "origin", "no"])
    assert said.exit_code == 1
    assert "trace" in str(said.exception)
