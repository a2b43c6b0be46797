"""Cases, made: the pairs of a file of dimensions that no kept case covers are filled.

A plan and the cases that are kept in, new cases with what they cover out. The one idea is that a
set is judged by what it covers before and after, counted pair by pair, and that a case that could
not be made is a pair that stays open and is said so.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from flywheel.evolution.cases.asking import Query, ask
from flywheel.evolution.cases.case import Case, MadeUpCase, case_id
from flywheel.evolution.cases.covering import Coverage, Pair, coverage, covering_array, pairs_in
from flywheel.evolution.cases.dimensions import BY_CODE, Plan
from flywheel.evolution.cases.review import Review, review
from flywheel.evolution.cases.rows import JsonRow, RowSource
from flywheel.evolution.cases.wording import Unworded, word
from flywheel.models.writer import NotWritten, Writer
from flywheel.settings import PrivacySettings
from flywheel.training.likeness import screen

BY_CODE_ALONE = "code"
# Questions of fewer words are alike by what they ask; longer ones by runs of five words.
_MIN_WORDS = 6


@dataclass(frozen=True, slots=True)
class Maker:
    """What cases are made with; without a `writer` they are worded in plain English by code."""

    source: RowSource
    privacy: PrivacySettings
    writer: Writer | None = None
    style: tuple[str, ...] = ()
    seed: int = 0


@dataclass(slots=True)
class Made:
    """Cases that are new, and what became of the others.

    `before` and `after` count the pairs of the plan that the kept cases cover, and with the new
    ones. `unreviewed` and `reviewed` count those of the plan with the values that the review named,
    before the cases that it asked for and with them; None where it named none.
    """

    plan: Plan
    cases: list[MadeUpCase] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    impossible: set[Pair] = field(default_factory=set)
    review: Review = field(default_factory=Review)
    notes: list[str] = field(default_factory=list)
    before: Coverage = field(default_factory=lambda: Coverage(0, 0, ()))
    after: Coverage = field(default_factory=lambda: Coverage(0, 0, ()))
    unreviewed: Coverage | None = None
    reviewed: Coverage | None = None

    @property
    def wider(self) -> Plan:
        """The plan with the values that the review named."""
        return self.plan.with_values(self.review.more)


def made_up(cases: Iterable[Case]) -> list[MadeUpCase]:
    """Those of the cases that ask about rows."""
    return [each for each in cases if isinstance(each, MadeUpCase)]


def make_cases(maker: Maker, plan: Plan, kept: Sequence[Case]) -> Made:
    """Cases for the pairs of the plan that the kept ones do not cover, reviewed by the model once.

    What cannot be made or worded, or is like another, is left out and counted by why.
    """
    present, made = made_up(kept), Made(plan)
    wanted = plan if maker.writer else _without_wording(plan)
    if len(wanted.dimensions) < len(plan.dimensions):
        made.notes.append("No model words the questions: what only changes wording stays open.")
    _fill(maker, wanted, present, made)
    if maker.writer and made.cases:
        _review(maker, maker.writer, present, made)
    made.before = coverage(plan.dimensions, _rows(present), made.impossible)
    made.after = coverage(plan.dimensions, _rows(present, made.cases), made.impossible)
    return made


def _without_wording(plan: Plan) -> Plan:
    by_code = {name: values for name, values in plan.dimensions.items() if name in BY_CODE}
    never = tuple(rule for rule in plan.never if set(rule) <= set(by_code))
    return replace(plan, dimensions=by_code, never=never)


def _review(maker: Maker, writer: Writer, present: Sequence[MadeUpCase], made: Made) -> None:
    """Let the model say what is missing and trivial, and do what can be done about it."""
    try:
        made.review = review(
            writer, made.plan, [case.question for case in made.cases], maker.privacy
        )
    except NotWritten as error:
        made.notes.append(f"It was not reviewed: {error}.")
        return
    made.notes += [f"The review named {said}." for said in made.review.noted]
    _drop_trivial(present, made)
    if made.review.more:
        before = _rows(present, made.cases)
        _fill(maker, made.wider, present, made)
        made.unreviewed = coverage(made.wider.dimensions, before, made.impossible)
        made.reviewed = coverage(made.wider.dimensions, _rows(present, made.cases), made.impossible)


def _drop_trivial(present: Sequence[MadeUpCase], made: Made) -> None:
    """Leave out what the review calls trivial, unless a pair would stay open without it."""
    names, called = list(made.plan.dimensions), [made.cases[i] for i in made.review.trivial]
    for case in called:
        others = [each for each in made.cases if each is not case]
        covered = {pair for row in _rows(present, others) for pair in pairs_in(row, names)}
        if all(pair in covered for pair in pairs_in(case.dimensions, names)):
            made.cases = others
            made.left_out["trivial by the review"] += 1
        else:
            made.notes.append(
                f"The review calls {case.case} trivial; it stays, for what it alone covers."
            )


def _fill(maker: Maker, plan: Plan, present: Sequence[MadeUpCase], made: Made) -> None:
    """Add cases for the pairs of a plan that neither the kept nor the new ones cover."""
    have = _rows(present, made.cases)
    array = covering_array(plan.dimensions, plan.never, have, maker.seed)
    made.impossible |= array.impossible
    drawn: list[tuple[list[JsonRow], Query, dict[str, str]]] = []
    for number, wanted in enumerate(array.rows):
        found = ask(maker.source, wanted, random.Random(f"{maker.seed}:{len(have)}:{number}"))
        if found is None:
            made.left_out["these rows have no such question"] += 1
        else:
            drawn.append((*found, wanted))
    columns = maker.source.columns
    asked = [
        Unworded(query.plain(columns), query.anchors(), wanted, query.answers(rows, columns))
        for rows, query, wanted in drawn
    ]
    worded, by = dict(enumerate(one.plain for one in asked)), BY_CODE_ALONE
    if maker.writer:
        wordings = word(maker.writer, asked, maker.privacy, maker.style)
        made.left_out.update(wordings.left_out)
        worded, by = wordings.found, f"{maker.writer.name} ({maker.writer.version})"
    fresh = [
        _case(worded[place], rows, asked[place], by)
        for place, (rows, _, _) in enumerate(drawn)
        if place in worded
    ]
    made.cases += _not_alike(fresh, [*present, *made.cases], made.left_out)


def _case(question: str, rows: list[JsonRow], asked: Unworded, by: str) -> MadeUpCase:
    answer = list(asked.answer)
    return MadeUpCase(
        case=case_id(question, rows, answer),
        question=question,
        rows=rows,
        answer=answer,
        dimensions=dict(asked.dimensions),
        worded_by=by,
    )


def _not_alike(
    fresh: Sequence[MadeUpCase], known: Sequence[MadeUpCase], left_out: Counter[str]
) -> list[MadeUpCase]:
    """The cases that ask what no other asks in nearly the same words, of rows of the same kind."""
    every = [*known, *fresh]
    kind = [_kind(case) for case in every]
    screened = screen([case.question for case in every], kind, (), _MIN_WORDS)
    if screened.near_duplicates:
        left_out["near-duplicate"] += screened.near_duplicates
    return [every[place] for place in screened.kept if place >= len(known)]


def _kind(case: MadeUpCase) -> tuple[object, ...]:
    """What tells cases apart whatever their words: the kind of their rows, and how many answer."""
    given = case.dimensions
    return tuple(given.get(name, "") for name in ("structure", "length", "noise", "cardinality"))


def _rows(*cases: Sequence[MadeUpCase]) -> list[dict[str, str]]:
    return [case.dimensions for part in cases for case in part]
