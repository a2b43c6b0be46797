"""Functions learnt from a file of tasks: proposed with evidence, approved by a person, taken back.

The server is a double that plays agent and optimiser by rules; sandbox, gates and stores are real.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from flywheel.cli.main import cli
from flywheel.errors import BadSetting
from flywheel.evolution.evidence import Evidence
from flywheel.evolution.functions.learning import (
    gates_of,
    learn_functions,
    learn_functions_or_why,
)
from flywheel.evolution.functions.optimiser import Limits, optimise
from flywheel.evolution.functions.proposing import drafts_of
from flywheel.evolution.functions.record import FunctionRecord, FunctionTest, read_record
from flywheel.evolution.functions.runner import Agent
from flywheel.evolution.functions.running import run_function
from flywheel.evolution.functions.store import live_records, put_live
from flywheel.evolution.functions.tasks import Task
from flywheel.evolution.keepers import keeper_of
from flywheel.evolution.proposals import Draft, approve, list_proposals, propose, undo
from flywheel.models.endpoint import Endpoint
from flywheel.models.spending import spent_today
from flywheel.models.writer import Writer
from flywheel.settings import PROJECT_FILE, GenerativeSettings
from flywheel.store import Project, open_project
from tests.conftest import write_lines
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
    writer,
)
from tests.model_server import ModelServer

SETTINGS = """[evolution]
model = "evolver"
tasks = "tasks.jsonl"
optimiser_patience = 1
[judges.evolver]
model = "double"
base_url = "{url}"
api_key_env = ""
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project's folder with tasks, each from a trace."""
    write_lines(
        tmp_path / "tasks.jsonl",
        (
            {
                **{"id": one.task_id, "question": one.question, "answer": one.answer},
                **{"slice": one.slice, "group": one.group},
                **{"trace_id": f"trace-{one.task_id}", "content_hash": "h"},
            }
            for one in tasks()
        ),
    )
    return tmp_path


def opened(folder: Path, url: str) -> Project:
    (folder / PROJECT_FILE).write_text(SETTINGS.format(url=url))
    return open_project(folder)


@pytest.fixture
def closing() -> Iterator[list[Project]]:
    projects: list[Project] = []
    yield projects
    for one in projects:
        one.stores.ledger.close()


def test_the_command_proposes_a_function_and_a_person_puts_it_live_and_back(
    folder: Path, closing: list[Project]
) -> None:
    with played(Played([step(add())])) as server:
        project = opened(folder, server.url)
        closing.append(project)
        log = folder / "runs.jsonl"
        ran = CliRunner().invoke(
            cli, ["--project", str(folder), "evolution", "functions", "--json", "--log", str(log)]
        )
    assert ran.exception is None, ran.output
    said = json.loads(ran.stdout)
    assert (said["changed"], said["stopped"]) == (["digit_sum"], "solved")
    assert said["sentence"].startswith(
        "digit_sum: 3 of 3 tasks that decided nothing are solved, 0 before; 5 of 5 training tasks"
    )
    (made,) = list_proposals(project.stores.ledger)
    draft = made.draft
    assert (draft.kind, draft.change, draft.subject) == ("function", "add", "digit_sum")
    assert draft.why == "it cannot reckon"
    assert draft.evidence.sentence == (
        "With the change 3 of 3 tasks that decided nothing are solved, 0 without it."
    )
    assert draft.evidence.holds
    assert [check.name for check in draft.evidence.checks] == [
        *("training", "held out", "report"),
        *("own words", "schema", "syntax", "complexity", "tests", "sandbox"),
        *("is called", "no answers by heart"),
    ]
    first = draft.evidence.figures[0]
    # Wilson's interval of 3 of 3 begins at 3 / (3 + 1.96 ** 2).
    assert (first.after and first.after.low) == pytest.approx(3 / (3 + 1.96**2), abs=1e-3)
    assert draft.shown_by == tuple((f"trace-t{n}", "h") for n in range(4_107, 4_112))
    assert read_record(draft.after or "").traces == tuple(t for t, _ in draft.shown_by)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["solved"] for line in lines] == [True] * 8
    assert lines[0]["calls"] == [["digit_sum", '{"n": 4107}', "12"]]

    keeper = keeper_of("function")
    assert live_records(project.stores.ledger) == {}
    approve(
        project=project, keeper=keeper, proposal_id=made.proposal_id, actor="ann", why="it works"
    )
    live = live_records(project.stores.ledger)
    assert live["digit_sum"].text == draft.after
    undo(project=project, keeper=keeper, proposal_id=made.proposal_id, actor="bob", why="later")
    assert live_records(project.stores.ledger) == {}


def test_a_person_is_told_of_what_fails_on_tasks_that_decided_nothing(project: Project) -> None:
    # The numbers of the last slice are above 6,000.
    below = "def digit_sum(n):\n    return sum(map(int, str(n))) if n < 6000 else -1\n"
    unused = "def unused(n):\n    return [12, 13, 14, n]\n"
    rules = Played([step(add(code=below), add("unused", unused))], prefers="digit_sum")
    with played(rules) as server:
        asked = writer(server, project.stores.ledger)
        found = optimise(
            writer=asked,
            agent=Agent(asked, run_here, max_steps=3),
            gates=lambda _: (),
            tasks=tasks(),
            start={},
            limits=Limits(steps=2, patience=1, alpha=0.05, prompt_tokens=30_000),
        )
    used, idle = (draft.evidence for draft in drafts_of(found, lambda _: (), tasks()))
    assert used.sentence.startswith("With the change 0 of 3 tasks that decided nothing are solved")
    assert [check.name for check in used.checks if not check.passed] == ["report"]
    failed = {check.name: check.said for check in idle.checks if not check.passed}
    assert failed.keys() == {"report", "is called", "no answers by heart"}
    # The sums of 4,107 to 4,111 are 12, 13, 14, 6 and 7.
    assert failed["no answers by heart"] == "3 of 5 stand in the code"
    assert "approve them together" in used.notes[1]


def test_what_is_live_is_where_the_search_starts(folder: Path, closing: list[Project]) -> None:
    right = add(do="revise_function")
    with played(Played([step(right, why="it returned -1")])) as server:
        project = opened(folder, server.url)
        closing.append(project)
        wrong = record("digit_sum", "def digit_sum(n):\n    return -1\n")
        put_live(project.stores.ledger, wrong, "ann", "a first try")
        learn_functions(project)
        (made,) = list_proposals(project.stores.ledger)
        assert (made.draft.change, made.draft.before) == ("redefine", wrong.text)
    assert live_records(project.stores.ledger) == {"digit_sum": wrong}


def test_nothing_is_proposed_of_what_is_no_better(folder: Path, closing: list[Project]) -> None:
    with played(Played([step(add(code=by_heart())), END])) as server:
        project = opened(folder, server.url)
        closing.append(project)
        learnt = learn_functions(project)
    assert learnt.sentence == (
        "Nothing is better: 0 of 5 training tasks are solved as before. "
        "It ended since several steps in a row were rejected."
    )
    assert list_proposals(project.stores.ledger) == []


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import socket\ndef digit_sum(n):\n    return 1\n", "'syntax'"),
        ("def digit_sum(n):\n    return 7\n", "'tests': test 1 returns “7”, not “12”"),
        ('def digit_sum(n):\n    """ann@example.com"""\n    return 1\n', "personal data"),
    ],
)
def test_a_function_that_a_gate_refuses_solves_nothing(
    folder: Path, closing: list[Project], code: str, said: str
) -> None:
    rules = Played([step(add(code=code))])
    with played(rules) as server:
        project = opened(folder, server.url)
        closing.append(project)
        (only,) = learn_functions(project).found.steps
    assert said in only.said
    assert only.train is None
    assert len(rules.asked_to_act) == 5


def test_without_a_model_or_a_file_it_says_what_to_write(project: Project) -> None:
    with pytest.raises(BadSetting, match=r"evolution\.model names no model"):
        learn_functions(project)
    said = learn_functions_or_why(project)
    assert isinstance(said, str)
    assert said.startswith("evolution.model names no model")


def test_nothing_new_is_searched_while_a_function_waits(project: Project) -> None:
    evidence = Evidence("It solves more.")
    draft = Draft("function", "f", "add", None, record("f", DIGIT_SUM).text, "why", evidence)
    assert propose(project.stores.ledger, draft, "a-model")
    assert learn_functions_or_why(project) == "proposal 1 of a function waits for a person"


def test_a_real_model_that_writes_no_step_fails_its_task_and_nothing_else(
    real_server: ModelServer, project: Project
) -> None:
    """The protocol, with a model too small to follow it: what it writes is counted and checked."""
    fields = {"model": real_server.model, "base_url": real_server.url, "api_key_env": ""}
    limits = {"timeout_s": 120.0, "max_reply_tokens": 16, "logprobs": False}
    ledger = project.stores.ledger
    asked = Writer(Endpoint("evolver", GenerativeSettings.model_validate(fields | limits), ledger))
    functions = {"digit_sum": record("digit_sum", DIGIT_SUM)}
    runs = Agent(asked, run_function, max_steps=1).run_all(tasks()[:1], functions)
    # Sixteen tokens are no whole object; it was sent back once.
    assert [run.ending for run in runs] == ["unusable"]
    assert runs[0].counts
    assert not runs[0].is_solved
    assert spent_today(ledger, "evolver").calls == 2


@pytest.mark.parametrize(
    "copied",
    [
        FunctionTest({"text": "my order came late,\nthe box was wet\nand nobody answered me"}, 1),
        FunctionTest({}, "write to me\nDE89370400440532013000"),
    ],
)
def test_the_end_of_a_line_hides_no_word_of_a_trace(project: Project, copied: FunctionTest) -> None:
    """In JSON it is written as a backslash and a letter, which would begin the next word."""
    said = "my order came late, the box was wet and nobody answered me"
    task = Task("t", "another question", said, "g", "train", trace=("trace-1", "hash"))
    gates = gates_of(project, [task])
    shape = {"type": "object", "properties": {}}
    code = "def one():\n    return 1\n"
    (check,) = gates(FunctionRecord("one", "One.", shape, code, tests=(copied,)))
    assert (check.name, check.passed) == ("own words", False)
