"""Whether a changed set of functions is better: on the same tasks, and on tasks it has not seen.

Runs of two sets in, a comparison or a decision with its sentence out. The one idea is that the two
are compared task by task, and that a gain which the tasks held out do not share is none.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flywheel.evolution.functions.runner import TaskRun
from flywheel.evolution.functions.tasks import LEAST
from flywheel.records import Interval
from flywheel.statistics import mcnemar_exact, wilson
from flywheel.statistics.paired import loss_bound, success_difference_draws

_EACH_SIDE = 0.025


@dataclass(frozen=True, slots=True)
class Paired:
    """Two sets of functions on the same tasks.

    `n` tasks were run with both, and `skipped` were not, since the server gave no answer; `before`
    and `after` solved so many of the `n`. `wins` and `losses` are groups of tasks of which only one
    of the two solved more; a task that names no group is one.
    """

    n: int
    skipped: int
    before: int
    after: int
    wins: int
    losses: int
    # Share after minus share before; groups of tasks are drawn as wholes.
    difference: Interval

    @property
    def p_value(self) -> float:
        """One-sided, that the second solves more (exact McNemar, a group counts once)."""
        return mcnemar_exact(self.wins, self.losses, "greater")

    @property
    def share_before(self) -> Interval:
        """Share that was solved, with Wilson's interval."""
        return wilson(self.before, self.n)

    @property
    def share_after(self) -> Interval:
        """Share that is solved, with Wilson's interval."""
        return wilson(self.after, self.n)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a candidate takes the incumbent's place, and why, in one sentence."""

    accepted: bool
    said: str
    train: Paired
    held_out: Paired | None = None


def compare(before: Sequence[TaskRun], after: Sequence[TaskRun]) -> Paired:
    """Two runs over the same tasks in the same order, on those that both could run."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a.counts and b.counts]
    first, second = [a.is_solved for a, _ in pairs], [b.is_solved for _, b in pairs]
    groups = [a.task.group for a, _ in pairs]
    leads = Counter[str]()
    for group, was, now in zip(groups, first, second, strict=True):
        leads[group] += now - was
    wins, losses = sum(n > 0 for n in leads.values()), sum(n < 0 for n in leads.values())
    drawn, _ = success_difference_draws(first, second, groups, [1.0] * len(pairs))
    # The wider of the two: draws of few tasks that do not differ are too sure.
    low = min(drawn.low, -loss_bound(len(leads), wins, losses, _EACH_SIDE))
    high = max(drawn.high, loss_bound(len(leads), losses, wins, _EACH_SIDE))
    return Paired(
        n=len(pairs),
        skipped=len(before) - len(pairs),
        before=sum(first),
        after=sum(second),
        wins=wins,
        losses=losses,
        difference=Interval(drawn.estimate, low, high),
    )


def judge_training(train: Paired, alpha: float) -> Decision:
    """The first half: strictly more of the training tasks, by more than chance."""
    solved = f"{train.after} of {train.n} training tasks are solved, {train.before} before"
    if train.after <= train.before:
        return Decision(False, f"No better: {solved}.", train)
    if train.p_value > alpha:
        return Decision(
            False,
            f"It may be chance: {solved}; {train.wins} are won and {train.losses} lost, exact "
            f"McNemar p = {train.p_value:.2g}, above {alpha:g}.",
            train,
        )
    return Decision(True, f"Better: {solved}; exact McNemar p = {train.p_value:.2g}.", train)


def judge_held_out(passed: Decision, held_out: Paired) -> Decision:
    """The second half: no task lost on balance of those held out, and some of the gain there too.

    What learns the training tasks by heart loses nothing elsewhere, and gains nothing.
    """
    if held_out.n < LEAST["held_out"]:
        why = f"Only {held_out.n} of the tasks held out could be run with both"
        return Decision(False, f"{why}. {passed.said}", passed.train, held_out)
    net = held_out.wins - held_out.losses
    told = f"of {held_out.n} tasks held out {held_out.after} are solved, {held_out.before} before"
    if net > 0:
        said = f"{passed.said[:-1]}; {told}."
        return Decision(True, said, passed.train, held_out)
    why = "It is worse on tasks it has not seen" if net < 0 else "It is fitted to its tasks"
    return Decision(False, f"{why}: {told}. {passed.said}", passed.train, held_out)
