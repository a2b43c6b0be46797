"""Functions as learnable weights: what helps is kept, what does not is rolled back, and it ends.

The server is a double that plays agent and optimiser by rules (`tests/learning_agents.py`); what is
made of its answers is real. Four tests are named after faults of the published implementation.
"""

from collections.abc import Sequence

import pytest

from flywheel.errors import NotEnough
from flywheel.evolution.evidence import Check
from flywheel.evolution.functions.moves import Moves
from flywheel.evolution.functions.optimiser import Gates, Limits, Optimised, optimise
from flywheel.evolution.functions.record import FunctionRecord
from flywheel.evolution.functions.runner import Agent, FunctionSet
from flywheel.evolution.functions.running import RunFunction, run_function
from flywheel.store import Project
from flywheel.store.ledger import Ledger
from tests.learning_agents import (
    DIGIT_SUM,
    END,
    Played,
    add,
    by_heart,
    played,
    record,
    run_here,
    step,
    tasks,
    texts_of,
    writer,
)

LIMITS = Limits(steps=6, patience=2, alpha=0.05, prompt_tokens=30_000)
WRONG = "def wrong(n):\n    return -1\n"


def passes(_: FunctionRecord) -> Sequence[Check]:
    return [Check("compiles", True, "it does")]


def search(
    project: Project,
    rules: Played,
    start: FunctionSet | None = None,
    run: RunFunction = run_here,
    gates: Gates = passes,
    limits: Limits = LIMITS,
) -> Optimised:
    with played(rules) as server:
        asked = writer(server, project.stores.ledger)
        return optimise(
            writer=asked,
            agent=Agent(asked, run, max_steps=3),
            gates=gates,
            tasks=tasks(),
            start=start or {},
            limits=limits,
        )


def test_a_missing_function_is_written_and_solves_every_task(project: Project) -> None:
    found = search(project, Played([step(add())]), run=run_function)
    assert found.stopped == "solved"
    assert [one.accepted for one in found.steps] == [True]
    # 5 of 5 are won: .5 ** 5.
    assert (found.train.before, found.train.after) == (0, 5)
    assert found.train.p_value == pytest.approx(0.5**5)
    assert found.report is not None
    assert (found.report.before, found.report.after, found.report.n) == (0, 3, 3)
    assert found.changed == ["digit_sum"]


def test_what_knows_the_training_tasks_by_heart_is_rejected_by_those_held_out(
    project: Project,
) -> None:
    rules = Played([step(add(code=by_heart())), END])
    found = search(project, rules)
    assert found.final == {}
    (only,) = found.steps
    assert not only.accepted
    assert only.train is not None
    assert only.train.after == 5
    assert only.held_out is not None
    assert only.held_out.after == 0
    assert only.said.startswith("It is fitted to its tasks: of 3 tasks held out 0 are solved")
    # And the optimiser is told so.
    assert "It is fitted to its tasks" in texts_of(rules.asked_to_move[1])[1]


# Fault 1: closures bound late, so that every tool called the function registered last.
def test_each_call_reaches_the_function_that_it_names(project: Project) -> None:
    functions = {
        "digit_sum": record("digit_sum", DIGIT_SUM),
        "last": record("last", "def last(n):\n    return -1\n"),
    }
    found = search(project, Played([END], prefers="digit_sum"), functions, run_function)
    assert found.stopped == "solved"
    called = {call.function: call.told for run in found.runs for call in run.calls}
    assert called.keys() == {"digit_sum"}
    assert "-1" not in called.values()


# Fault 2: a function that was removed stayed where the agent could call it.
def test_a_removed_function_can_no_longer_be_called(project: Project) -> None:
    functions = {"wrong": record("wrong", WRONG), "digit_sum": record("digit_sum", DIGIT_SUM)}
    rules = Played([step(add("wrong", "", "remove_function"))], prefers="wrong")
    found = search(project, rules, functions)
    assert list(found.final) == ["digit_sum"]
    assert found.changed == ["wrong"]
    assert {call.function for run in found.runs for call in run.calls} == {"digit_sum"}
    last = texts_of(rules.asked_to_act[-1])[0]
    assert "name: digit_sum" in last


# Fault 3: the action `terminate` was read and did nothing.
def test_terminate_ends_it_at_once(project: Project) -> None:
    rules = Played([END])
    found = search(project, rules)
    assert (found.stopped, found.steps) == ("terminated", ())
    assert len(rules.asked_to_move) == 1
    # The training tasks of the start, and nothing after.
    assert len(rules.asked_to_act) == 5


# Fault 4: rejections were counted nowhere, so that it never ended early.
def test_rejections_in_a_row_end_it_early_and_nothing_is_kept(project: Project) -> None:
    tried = [step(add(code=f"def digit_sum(n):\n    return -{k}\n")) for k in range(1, 7)]
    rules = Played(tried)
    found = search(project, rules)
    assert found.stopped == "early"
    assert [one.accepted for one in found.steps] == [False, False]
    assert found.final == found.start
    assert len(rules.asked_to_move) == LIMITS.patience


def test_what_failed_is_told_worst_first_and_forgotten_after_a_success(project: Project) -> None:
    one_right = "def half(n):\n    return 12 if n == 4107 else -1\n"
    all_but_one = "def digit_sum(n):\n    return -1 if n == 4111 else sum(map(int, str(n)))\n"
    # Four tasks won and none lost: p = .0625.
    limits = Limits(steps=6, patience=4, alpha=0.1, prompt_tokens=30_000)
    rules = Played(
        [
            step(add("half", one_right), why="the better try"),
            step(add("wrong", WRONG), why="the worse try"),
            step(add(code=all_but_one), why="at last"),
            END,
        ],
    )
    found = search(project, rules, limits=limits)
    assert [one.accepted for one in found.steps] == [False, False, True]
    told = [texts_of(body)[1] for body in rules.asked_to_move]
    assert told[2].index("the worse try") < told[2].index("the better try")
    assert "the worst first:\n\nnone" in told[3]
    assert list(found.final) == ["digit_sum"]


def test_one_task_more_may_be_chance(project: Project) -> None:
    one_right = "def digit_sum(n):\n    return 12 if n == 4107 else 0\n"
    found = search(project, Played([step(add(code=one_right)), END]))
    assert found.final == {}
    # One discordant pair: p = .5.
    assert "It may be chance: 1 of 5 training tasks are solved, 0 before" in found.steps[0].said
    assert found.steps[0].held_out is None


def test_what_a_gate_refuses_is_never_run(project: Project) -> None:
    def refuses(_: FunctionRecord) -> Sequence[Check]:
        return [Check("syntax", False, "it imports os")]

    rules = Played([step(add()), END])
    found = search(project, rules, gates=refuses)
    assert found.steps[0].said == "digit_sum did not pass the gate 'syntax': it imports os"
    assert len(rules.asked_to_act) == 5


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        (step(add("digit_sum", "", "remove_function")), "there is no function 'digit_sum'"),
        (step(add(do="revise_function")), "there is no function 'digit_sum'"),
        (step(add(), add()), "two actions of one step are on the same function"),
        (step(add().model_copy(update={"parameters": "none"})), "what should be JSON is none"),
    ],
)
def test_an_action_that_cannot_be_carried_out_is_a_rejected_step(
    project: Project, actions: Moves, said: str
) -> None:
    found = search(project, Played([actions, END]))
    assert said in found.steps[0].said
    assert found.stopped == "terminated"


def test_four_actions_at_once_are_sent_back(project: Project) -> None:
    many = [add(name) for name in ("a", "b", "c", "d")]
    rules = Played([Moves.model_construct(why="", terminate=False, actions=many), END])
    found = search(project, rules)
    assert found.stopped == "terminated"
    assert "4 actions; 3 are the most" in texts_of(rules.asked_to_move[1])[-1]


def test_a_server_that_fails_counts_for_neither_side(project: Project) -> None:
    class Failing(Played):
        def reply(self, body: dict[str, object]) -> tuple[int, object]:
            return 400, {"error": {"message": "no such model"}}

    rules = Failing([END])
    with pytest.raises(NotEnough, match="training tasks with an answer from the server"):
        search(project, rules)


def test_the_ledger_is_not_held_while_a_function_runs(ledger: Ledger) -> None:
    """Both databases: calls are counted by other threads, at the same time."""
    with played(Played([END])) as server:
        agent = Agent(writer(server, ledger), run_here, max_steps=3)
        runs = agent.run_all(tasks(), {"digit_sum": record("digit_sum", DIGIT_SUM)})
    assert all(run.is_solved for run in runs)
