"""Suites: cases on which a challenger may not be worse, whatever it wins elsewhere.

Cases with both outcomes in, what each suite shows out. The suites are `regression` (what was wrong
and was put right before the champion's training), `general` (what neither has learnt from, against
forgetting) and `malformed` (replies that can be read). A suite holds where the one-sided upper
bound of the loss, paired and at the gate's whole alpha, is below the margin. Every other outcome
has its rule, which is this:

- Without a case a suite is absent: it is named, with what would make it, and it refuses nobody. A
  young project has nothing that was put right, and must not wait for that for ever.
- With too few cases for the bound, a suite that can grow is thin, and refuses with the number of
  cases that are missing: 59 clean ones show a loss below 5 points at .05, and each loss takes more.
- A closed list cannot grow: what the champion learnt is known, and all of it is in the regression
  suite. There is nothing to infer about such a list. Where it is so short that no bound could be
  below the margin, it holds unless more is lost on it than won.
- Where the loss itself reaches the margin, or a closed list is long enough for the bound and does
  not show it, the suite is broken: more cases of the same kind would not help.

A group (a session or a user) counts once, for the side that is right on more of its cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flywheel.gate.items import leads
from flywheel.statistics.paired import (
    cases_needed,
    least_cases,
    loss_bound,
    noninferiority_p,
)

SuiteState = Literal["held", "broken", "thin", "absent"]


@dataclass(frozen=True, slots=True)
class SuiteCase:
    """One case and its group, and whether either side gets it right."""

    case_id: str
    group: str
    champion: bool
    challenger: bool


@dataclass(frozen=True, slots=True)
class CaseList:
    """The cases of a suite; `made_by` says in words what makes one.

    `is_closed` where it is all that there can be while this champion stands. `left_out` cases stand
    in what either side has learnt.
    """

    name: str
    cases: tuple[SuiteCase, ...]
    made_by: str
    is_closed: bool = False
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Suite:
    """What a suite shows: `n` groups, on `wins` of which the challenger is ahead.

    The rates are shares of the cases that each side gets right; `loss_bound` is how much worse the
    challenger may be at most, in shares of the groups; `needed` is how many more groups would show
    that it is below the margin, None where no number would, and 0 where nothing is missing.
    """

    name: str
    n: int
    wins: int
    losses: int
    champion_rate: float | None
    challenger_rate: float | None
    loss_bound: float
    state: SuiteState
    needed: int | None
    why: str


def weigh_suite(given: CaseList, margin: float, alpha: float) -> Suite:
    """What the cases show at this margin and error; see the module for the rule."""
    cases = given.cases
    n = len({case.group for case in cases})
    if n == 0:
        gone = f" ({given.left_out} stand in what was learnt)" if given.left_out else ""
        why = f"Suite {given.name}: not there, no case yet{gone}. {given.made_by}"
        return Suite(given.name, 0, 0, 0, None, None, 1.0, "absent", 0, why)
    wins, losses = leads((case.group, case.champion, case.challenger) for case in cases)
    state, needed = _state(n, wins, losses, given.is_closed, margin, alpha)
    old = sum(case.champion for case in cases) / len(cases)
    new = sum(case.challenger for case in cases) / len(cases)
    bound = loss_bound(n, wins, losses, alpha)
    said = (
        f"Suite {given.name}: right on {new:.1%} of {_cases(cases)}, the champion on {old:.1%}; "
        f"{losses} lost, {wins} won, worse by {bound:.1%} at most"
    )
    end = _ending(state, needed, n, given, margin, alpha)
    return Suite(given.name, n, wins, losses, old, new, bound, state, needed, f"{said}; {end}")


def _state(
    n: int, wins: int, losses: int, is_closed: bool, margin: float, alpha: float
) -> tuple[SuiteState, int | None]:
    if float(noninferiority_p(n, wins, losses, margin)) < alpha:
        return "held", 0
    if is_closed and n < least_cases(margin, alpha):
        return ("held", 0) if losses <= wins else ("broken", None)
    in_all = cases_needed(n, wins, losses, margin, alpha)
    if is_closed or in_all is None:
        return "broken", None
    return "thin", max(1, in_all - n)


def _ending(
    state: SuiteState, needed: int | None, n: int, given: CaseList, margin: float, alpha: float
) -> str:
    short = given.is_closed and n < least_cases(margin, alpha)
    if state == "held":
        why = "the list is short, and no more is lost than won" if short else f"margin {margin:.1%}"
        return f"it holds ({why})."
    if state == "broken":
        why = "more is lost than won on it" if short else f"that is not below {margin:.1%}"
        return f"refused, {why}."
    return (
        f"refused, the evidence is thin: about {needed} more cases show whether that is below "
        f"{margin:.1%}. {given.made_by}"
    )


def _cases(cases: Sequence[SuiteCase]) -> str:
    return f"{len(cases)} case{'s' if len(cases) != 1 else ''}"
