"""A better set of functions as proposals: one a function, with what was measured of the set.

What the optimiser found in, drafts out. The one idea is that a person is shown what the tasks say
that decided nothing, beside what the decision rests on.
"""

import ast
import json
from collections.abc import Sequence

from flywheel.evolution.evidence import Check, Evidence, Figure
from flywheel.evolution.functions.acceptance import Paired
from flywheel.evolution.functions.optimiser import STOPPED, Gates, Optimised
from flywheel.evolution.functions.runner import TaskRun
from flywheel.evolution.functions.tasks import Task
from flywheel.evolution.proposals import Change, Draft
from flywheel.statistics import wilson

# Fewer answers stand in a function by chance: 0 and 1 do in most.
_BY_HEART = 3


def drafts_of(found: Optimised, gates: Gates, tasks: Sequence[Task]) -> list[Draft]:
    """One draft a function that is other than before; none where nothing was better."""
    return [_draft(found, name, gates, tasks) for name in found.changed]


def _draft(found: Optimised, name: str, gates: Gates, tasks: Sequence[Task]) -> Draft:
    before, after = found.start.get(name), found.final.get(name)
    change: Change = "add" if before is None else "remove" if after is None else "redefine"
    won = [run for run in found.runs if run.is_solved and run.task.trace and _calls(run, name)]
    whys = [step.why for step in found.steps if step.accepted and _touches(step.actions, name)]
    checks = list(_checks(found))
    if after is not None:
        checks += [*gates(after), _is_called(found, name), _by_heart(after.code, tasks)]
    return Draft(
        kind="function",
        subject=name,
        change=change,
        before=None if before is None else before.text,
        after=None if after is None else after.text,
        why=" ".join(filter(None, whys)) or "the tasks that failed",
        evidence=Evidence(
            _sentence(found), _figures(found, name), tuple(checks), _notes(found, name)
        ),
        shown_by=tuple(sorted({run.task.trace for run in won if run.task.trace})),
    )


def _sentence(found: Optimised) -> str:
    seen = found.report
    assert seen is not None, "a set that is other than the start is compared with it"
    return (
        f"With the change {seen.after} of {seen.n} tasks that decided nothing are solved, "
        f"{seen.before} without it."
    )


def _figures(found: Optimised, name: str) -> tuple[Figure, ...]:
    named = (
        ("tasks solved that decided nothing", found.report),
        ("tasks solved that were held out", found.held_out),
        ("training tasks solved", found.train),
    )
    figures = [
        Figure(what, paired.share_after, paired.share_before, paired.n)
        for what, paired in named
        if paired is not None
    ]
    if found.report is not None:
        said = "difference on tasks that decided nothing"
        figures.insert(1, Figure(said, found.report.difference, None, found.report.n))
    runs = [run for run in found.report_runs if run.counts]
    if name in found.final:
        called = wilson(sum(_calls(run, name) for run in runs), len(runs))
        figures.append(Figure(f"tasks in which {name} is called", called, None, len(runs)))
    return tuple(figures)


def _checks(found: Optimised) -> list[Check]:
    checks = []
    for what, paired in (
        ("training", found.train),
        ("held out", found.held_out),
        ("report", found.report),
    ):
        if paired is not None:
            said = (
                f"{paired.wins} of {paired.n} tasks are won and {paired.losses} lost; exact "
                f"McNemar, one-sided, p = {paired.p_value:.2g}"
            )
            checks.append(Check(what, paired.wins > paired.losses, said))
    return checks


def _is_called(found: Optimised, name: str) -> Check:
    n = sum(_calls(run, name) for run in (*found.runs, *found.report_runs))
    return Check("is called", n > 0, f"in {n} of {len(found.runs) + len(found.report_runs)} tasks")


def _by_heart(code: str, tasks: Sequence[Task]) -> Check:
    """Whether answers of the training tasks stand in the code."""
    constants = {
        str(node.value).strip().casefold()
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Constant) and not isinstance(node.value, bool)
    }
    answers = {
        (one if isinstance(one, str) else json.dumps(one)).strip().casefold()
        for one in (task.answer for task in tasks if task.slice == "train")
    }
    n = len(constants & answers)
    return Check("no answers by heart", n < _BY_HEART, f"{n} of {len(answers)} stand in the code")


def _notes(found: Optimised, name: str) -> tuple[str, ...]:
    others = [other for other in found.changed if other != name]
    notes = [
        f"{len(found.steps)} steps, {sum(step.accepted for step in found.steps)} accepted; "
        f"it ended since {STOPPED[found.stopped]}."
    ]
    if others:
        notes.append(
            f"Measured together with changes of {', '.join(others)}: approve them together."
        )
    skipped = _skipped(found.train) + _skipped(found.held_out) + _skipped(found.report)
    if skipped:
        notes.append(f"{skipped} tasks had no answer from the server, and count for neither side.")
    return tuple(notes)


def _skipped(paired: Paired | None) -> int:
    return paired.skipped if paired else 0


def _calls(run: TaskRun, name: str) -> bool:
    return any(call.function == name for call in run.calls)


def _touches(actions: Sequence[str], name: str) -> bool:
    return any(action.split(" ", 1)[1] == name for action in actions)
