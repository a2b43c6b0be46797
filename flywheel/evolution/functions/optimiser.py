"""Functions as learnable weights: changed step by step by a model, kept only where they are better.

A model that writes, an agent and tasks in; the best set that was found, and every step, out. The
loop is that of Zhang et al. (2402.11359): the loss is the share of training tasks that fail; what
is not better is rolled back and told as a failure; enough rejections in a row end it. Other than
theirs, each candidate is run on the same tasks as the set that it would replace.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from flywheel.errors import BadInput, NotEnough
from flywheel.evolution.evidence import Check
from flywheel.evolution.functions.acceptance import (
    Paired,
    compare,
    judge_held_out,
    judge_training,
)
from flywheel.evolution.functions.asking import Rejected, ask_for_moves
from flywheel.evolution.functions.moves import Moves, changed, key_of
from flywheel.evolution.functions.record import FunctionRecord
from flywheel.evolution.functions.runner import Agent, FunctionSet, TaskRun
from flywheel.evolution.functions.tasks import LEAST, Slice, Task, in_slices
from flywheel.models.writer import NotWritten, Writer

Stop = Literal["terminated", "early", "steps", "solved", "no_answer"]
STOPPED: dict[Stop, str] = {
    "terminated": "the model said that no change would help",
    "early": "several steps in a row were rejected",
    "steps": "all steps were taken",
    "solved": "every training task is solved",
    "no_answer": "the server gave too few answers",
}
# What refuses a function before it is run on a task; the first check that fails ends it.
Gates = Callable[[FunctionRecord], Sequence[Check]]
Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """How long it may go on, and how sure it has to be."""

    steps: int
    patience: int
    alpha: float
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class StepTaken:
    """One step: what the model wanted, why, and what became of it."""

    number: int
    actions: tuple[str, ...]
    why: str
    accepted: bool
    said: str
    train: Paired | None = None
    held_out: Paired | None = None


@dataclass(frozen=True, slots=True)
class Optimised:
    """What the search came to; `report` compares start and end on tasks that decided nothing.

    `runs` are those of the training tasks with the final set.
    """

    start: FunctionSet
    final: FunctionSet
    steps: tuple[StepTaken, ...]
    stopped: Stop
    n_tasks: dict[Slice, int]
    runs: tuple[TaskRun, ...]
    train: Paired
    held_out: Paired | None = None
    report: Paired | None = None
    report_runs: tuple[TaskRun, ...] = ()
    why_stopped: str = ""

    @property
    def changed(self) -> list[str]:
        """Names of the functions that are other than at the start."""
        names = {*self.start, *self.final}
        return sorted(name for name in names if self.start.get(name) != self.final.get(name))


def optimise(
    *,
    writer: Writer,
    agent: Agent,
    gates: Gates,
    tasks: Sequence[Task],
    start: FunctionSet,
    limits: Limits,
    told: Told = lambda done, total: None,
) -> Optimised:
    """Search for a set that solves more tasks; it ends with the start where none is better.

    Raises NotEnough where a slice has too few tasks, or the server gave too few answers to begin.
    """
    search = _Search(writer, agent, gates, in_slices(tasks), dict(start), limits)
    return search.run(told)


@dataclass(slots=True)
class _Search:
    writer: Writer
    agent: Agent
    gates: Gates
    tasks: dict[Slice, list[Task]]
    start: FunctionSet
    limits: Limits
    incumbent: FunctionSet = field(init=False)
    # Runs of the incumbent, and of the start; slices that no decision needed are not run.
    runs: dict[Slice, list[TaskRun]] = field(default_factory=dict)
    first: dict[Slice, list[TaskRun]] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    steps: list[StepTaken] = field(default_factory=list)
    why_stopped: str = ""

    def run(self, told: Told) -> Optimised:
        """All steps, and the comparison at the end."""
        self.incumbent = self.start
        self.first["train"] = self.runs["train"] = self._run("train", self.start)
        _check_counted(self.runs["train"])
        self.tried.add(key_of(self.start))
        stopped: Stop = "steps"
        for number in range(1, self.limits.steps + 1):
            told(number - 1, self.limits.steps)
            if end := self._end() or self._step(number):
                stopped = end
                break
        else:
            stopped = self._end() or "steps"
        told(self.limits.steps, self.limits.steps)
        return self._result(stopped)

    def _end(self) -> Stop | None:
        """Why there is nothing more to do before the next step, if so."""
        if all(run.is_solved for run in self.runs["train"]):
            return "solved"
        recent = self.steps[-self.limits.patience :]
        is_over = len(recent) == self.limits.patience and not any(s.accepted for s in recent)
        return "early" if is_over else None

    def _step(self, number: int) -> Stop | None:
        """Ask for a change and measure it; the reason to stop, where there is one."""
        asked = ask_for_moves(
            self.incumbent, self.runs["train"], self.rejected, self.limits.prompt_tokens
        )
        try:
            moves = self.writer.write(asked, Moves)
        except NotWritten as error:
            if not error.is_its_own_fault:
                self.why_stopped = str(error)
                return "no_answer"
            self._reject(StepTaken(number, (), "", False, str(error)), loss=1.0)
            return None
        if moves.terminate:
            return "terminated"
        said = tuple(action.said for action in moves.actions)
        try:
            candidate = self._candidate(moves)
        except BadInput as error:
            self._reject(StepTaken(number, said, moves.why, False, str(error)), loss=1.0)
            return None
        return self._measure(number, said, moves.why, candidate)

    def _candidate(self, moves: Moves) -> FunctionSet:
        """The set that a step asks for; raises BadInput where it may not be run."""
        failed = [run.task for run in self.runs["train"] if run.counts and not run.is_solved]
        traces = sorted({task.trace[0] for task in failed if task.trace})
        candidate = changed(self.incumbent, moves, traces)
        if key_of(candidate) in self.tried:
            raise BadInput("this very set of functions was tried before")
        for name, record in candidate.items():
            if record == self.incumbent.get(name):
                continue
            faults = [check for check in self.gates(record) if not check.passed]
            if faults:
                raise BadInput(f"{name} did not pass the gate {faults[0].name!r}: {faults[0].said}")
        self.tried.add(key_of(candidate))
        return candidate

    def _measure(
        self, number: int, said: tuple[str, ...], why: str, candidate: FunctionSet
    ) -> Stop | None:
        """Run a candidate on the tasks of the incumbent, and keep the better of the two."""
        ran: dict[Slice, list[TaskRun]] = {"train": self._run("train", candidate)}
        train = compare(self.runs["train"], ran["train"])
        if train.n < LEAST["train"]:
            self.why_stopped = next(run.why for run in ran["train"] if not run.counts)
            return "no_answer"
        decision = judge_training(train, self.limits.alpha)
        if decision.accepted:
            ran["held_out"] = self._run("held_out", candidate)
            decision = judge_held_out(decision, compare(self._runs_of("held_out"), ran["held_out"]))
        step = StepTaken(
            number, said, why, decision.accepted, decision.said, train, decision.held_out
        )
        if not decision.accepted:
            self._reject(step, loss=1 - train.after / train.n)
            return None
        self.steps.append(step)
        self.rejected.clear()
        self.incumbent, self.runs = candidate, ran
        return None

    def _reject(self, step: StepTaken, loss: float) -> None:
        """Keep the incumbent, and what did not help."""
        self.steps.append(step)
        said = f"{', '.join(step.actions) or 'nothing'}: {step.why}"
        self.rejected.append(Rejected(said, step.said, loss))

    def _run(self, name: Slice, functions: FunctionSet) -> list[TaskRun]:
        return self.agent.run_all(self.tasks[name], functions)

    def _runs_of(self, name: Slice) -> list[TaskRun]:
        """Those of the incumbent, run where nobody needed them before."""
        if name not in self.runs:
            self.runs[name] = self._run(name, self.incumbent)
        if self.incumbent == self.start:
            self.first[name] = self.runs[name]
        return self.runs[name]

    def _result(self, stopped: Stop) -> Optimised:
        held_out = report = None
        after: list[TaskRun] = []
        if self.incumbent != self.start:
            held_out = compare(self.first["held_out"], self.runs["held_out"])
            after = self._run("report", self.incumbent)
            report = compare(self._run("report", self.start), after)
        return Optimised(
            start=self.start,
            final=self.incumbent,
            steps=tuple(self.steps),
            stopped=stopped,
            n_tasks={name: len(members) for name, members in self.tasks.items()},
            runs=tuple(self.runs["train"]),
            train=compare(self.first["train"], self.runs["train"]),
            held_out=held_out,
            report=report,
            report_runs=tuple(after),
            why_stopped=self.why_stopped,
        )


def _check_counted(runs: Sequence[TaskRun]) -> None:
    counted = sum(run.counts for run in runs)
    if counted < LEAST["train"]:
        why = next(run.why for run in runs if not run.counts)
        raise NotEnough(f"training tasks with an answer from the server ({why})", counted, 5)
