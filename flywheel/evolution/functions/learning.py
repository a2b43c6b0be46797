"""Functions of a project, learnt from its tasks and proposed.

The project and a file of tasks in, open proposals out. The one idea is that the search starts from
what is live, and changes nothing of it: what it finds waits for a person.
"""

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from flywheel.errors import BadInput, BadSetting, NeverWill
from flywheel.evolution.copying import check_own_words
from flywheel.evolution.evidence import Check
from flywheel.evolution.functions.gates import pass_gates
from flywheel.evolution.functions.limits import limits_of
from flywheel.evolution.functions.optimiser import (
    STOPPED,
    Gates,
    Limits,
    Optimised,
    Told,
    optimise,
)
from flywheel.evolution.functions.proposing import drafts_of
from flywheel.evolution.functions.record import FunctionRecord
from flywheel.evolution.functions.runner import Agent
from flywheel.evolution.functions.running import run_function
from flywheel.evolution.functions.store import live_records
from flywheel.evolution.functions.tasks import Task, read_tasks
from flywheel.evolution.proposals import Draft, list_proposals, propose
from flywheel.models.writer import writer_of
from flywheel.settings import PrivacySettings
from flywheel.store import Project

# What a model is told of its faults.
_FAULTS_TOKENS = 200


@dataclass(frozen=True, slots=True)
class Learnt:
    """What was found, and the numbers of what was proposed; a change proposed before has none."""

    found: Optimised
    proposed: tuple[int, ...]

    @property
    def sentence(self) -> str:
        """What came of it, for a person."""
        found = self.found
        why = STOPPED[found.stopped] + (f" ({found.why_stopped})" if found.why_stopped else "")
        solved = f"{found.train.after} of {found.train.n} training tasks are solved"
        if found.report is None:
            return f"Nothing is better: {solved} as before. It ended since {why}."
        seen = found.report
        numbers = ", ".join(map(str, self.proposed)) or "none that was not proposed before"
        return (
            f"{', '.join(found.changed)}: {seen.after} of {seen.n} tasks that decided nothing are "
            f"solved, {seen.before} before; {solved}, {found.train.before} before. "
            f"Proposals: {numbers}. It ended since {why}."
        )

    def report(self) -> dict[str, object]:
        """As a program reads it."""
        found = self.found
        return {
            **{"sentence": self.sentence, "stopped": found.stopped, "changed": found.changed},
            **{"proposed": self.proposed, "tasks": found.n_tasks, "steps": found.steps},
            **{"train": found.train, "held_out": found.held_out, "report": found.report},
        }


def learn_functions(
    project: Project,
    tasks_file: Path | None = None,
    propose_them: bool = True,
    told: Told = lambda done, total: None,
) -> Learnt:
    """Search for better functions on the tasks of a file, `evolution.tasks` unless it is given.

    Raises BadSetting where no model or no file is named, BadInput on what is no task, NotEnough
    where there are too few, and NoSandbox where nothing can be run.
    """
    wanted, ledger = project.settings.evolution, project.stores.ledger
    writer = writer_of(project.settings, ledger)
    tasks = read_tasks(tasks_file or tasks_path(project))
    gates = gates_of(project, tasks)
    found = optimise(
        writer=writer,
        agent=Agent(
            writer,
            partial(run_function, limits=limits_of(wanted)),
            wanted.agent_steps,
            project.settings.compute.threads,
        ),
        gates=gates,
        tasks=tasks,
        start=live_records(ledger),
        limits=Limits(
            wanted.optimiser_steps,
            wanted.optimiser_patience,
            wanted.function_alpha,
            # A reply that was faulty goes back once, with the next one still to come.
            wanted.context_tokens - 2 * wanted.max_reply_tokens - _FAULTS_TOKENS,
        ),
        told=told,
    )
    drafts = drafts_of(found, gates, tasks) if propose_them else []
    sources = _traces_in(tasks)
    made = [
        propose(ledger, _in_own_words(draft, sources, project.settings.privacy), writer.version)
        for draft in drafts
    ]
    return Learnt(found, tuple(one.proposal_id for one in made if one))


def learn_functions_or_why(project: Project) -> Learnt | str:
    """The same; a sentence where no model or no tasks are named, or nothing can be run.

    What was found before is decided first: until then the same would be found again.
    """
    if waiting := list_proposals(project.stores.ledger, "open", "function"):
        numbers = ", ".join(str(one.proposal_id) for one in waiting)
        return f"proposal {numbers} of a function waits for a person"
    try:
        return learn_functions(project)
    except NeverWill as error:
        return str(error)


def tasks_path(project: Project) -> Path:
    """The file that `evolution.tasks` names; raises BadSetting where it names none."""
    named = project.settings.evolution.tasks
    if not named:
        raise BadSetting("evolution.tasks names no file; write one, or give --tasks FILE")
    return project.folder / named


def gates_of(project: Project, tasks: Sequence[Task]) -> Gates:
    """What refuses a function: words of a trace, and then the gates of every function."""
    settings = project.settings
    check = partial(_own_words, sources=_traces_in(tasks), privacy=settings.privacy)
    wanted = settings.evolution

    def gates(record: FunctionRecord) -> list[Check]:
        own = check(record)
        if not own.passed:
            return [own]
        return [own, *pass_gates(record, wanted.sandbox_packages, limits_of(wanted))]

    return gates


def write_log(path: Path, found: Optimised) -> None:
    """One line a task that was run with the final functions: its calls, its answer, its end."""
    lines = (
        {
            **{"id": run.task.task_id, "slice": run.task.slice, "solved": run.is_solved},
            **{"ending": run.ending, "answer": run.answer, "right": run.task.answer},
            "calls": [[call.function, call.arguments, call.told] for call in run.calls],
            "why": run.why,
        }
        for run in (*found.runs, *found.report_runs)
    )
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")


def _own_words(record: FunctionRecord, sources: Sequence[str], privacy: PrivacySettings) -> Check:
    try:
        check_own_words(_said_in(record), sources, privacy)
    except BadInput as error:
        return Check("own words", False, str(error))
    return Check("own words", True, "no run of words of a trace, and no personal data")


def _said_in(record: FunctionRecord) -> str:
    """All texts and numbers of a record as they are read, without the escapes of JSON and Python:
    behind those an end of a line would hide the word that follows it."""
    tests = [value for test in record.tests for value in (test.arguments, test.returns)]
    said = [record.name, record.description, record.code]
    said += [str(one) for one in _leaves([record.parameters, *tests])]
    try:
        tree = ast.parse(record.code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # The gate of syntax says so.
        return "\n".join(said)
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    constants.sort(key=lambda node: (node.lineno, node.col_offset))
    return "\n".join([*said, *(str(node.value) for node in constants)])


def _leaves(value: object) -> Iterator[object]:
    """The names and values in a JSON value, in their order."""
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield name
            yield from _leaves(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _leaves(one)
    else:
        yield value


def _in_own_words(draft: Draft, sources: Sequence[str], privacy: PrivacySettings) -> Draft:
    """The draft, without the model's own reason where that repeats a trace."""
    try:
        check_own_words(draft.why, sources, privacy)
    except BadInput:
        return replace(draft, why="the reason that was given repeated a trace, and was left out")
    return draft


def _traces_in(tasks: Sequence[Task]) -> list[str]:
    """What stands in traces of what a model was shown."""
    traced = [task for task in tasks if task.trace]
    answers = [task.answer for task in traced if isinstance(task.answer, str)]
    return [*(task.question for task in traced), *answers]
