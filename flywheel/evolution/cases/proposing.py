"""Cases as proposals: what was made of a file of dimensions, and of what people corrected.

A project in, drafts with what they cover out; a person approves them, and the keeper writes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from flywheel.evolution.cases.case import appended as with_cases
from flywheel.evolution.cases.case import read_cases
from flywheel.evolution.cases.covering import Coverage, coverage, covering_array
from flywheel.evolution.cases.dimensions import (
    Plan,
    appended,
    folder_of,
    plan_named,
    plans_in,
)
from flywheel.evolution.cases.making import Made, Maker, made_up, make_cases
from flywheel.evolution.cases.regression import Regressions, find_regressions
from flywheel.evolution.cases.rows import MadeUp, OwnRows, RowSource, own_rows
from flywheel.evolution.evidence import Check, Evidence, Figure
from flywheel.evolution.kept_files import read_kept
from flywheel.evolution.proposals import Draft, Proposal, propose
from flywheel.models.writer import Writer
from flywheel.records import Interval
from flywheel.store import Project

REGRESSIONS = "regressions.jsonl"
# Of users' words that show a model how people ask.
_STYLES, _STYLE_CHARACTERS = 5, 400
# How many open pairs are named; the rest is a number.
_MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Covered:
    """What the kept cases of a plan cover."""

    name: str
    cases: int
    pairs: Coverage


def kept_coverage(project: Project, name: str) -> Covered:
    """What the cases of a file of dimensions cover now."""
    folder = folder_of(project.folder)
    plan = plan_named(folder, name)
    kept = made_up(read_cases(f"{name}.jsonl", read_kept(folder / f"{name}.jsonl")))
    possible = covering_array(plan.dimensions, plan.never)
    rows = [case.dimensions for case in kept]
    return Covered(name, len(kept), coverage(plan.dimensions, rows, possible.impossible))


def propose_cases(
    project: Project, name: str, writer: Writer | None, *, seed: int = 0, is_dry: bool = False
) -> tuple[Made, list[Proposal]]:
    """Make the cases that a file of dimensions lacks, and propose them where there are any.

    Values that the review named are proposed too, as a change of the file of dimensions.
    """
    folder = folder_of(project.folder)
    plan = plan_named(folder, name)
    text = read_kept(folder / f"{name}.jsonl")
    source = source_of(project, plan)
    style = _style(project, plan.app) if writer else ()
    maker = Maker(source, project.settings.privacy, writer, style, seed)
    made = make_cases(maker, plan, read_cases(f"{name}.jsonl", text))
    if isinstance(source, OwnRows):
        made.left_out.update({f"rows {why}": n for why, n in source.left_out.items()})
    drafts = _drafts(made, text, read_kept(folder / f"{name}.toml") or "")
    if is_dry:
        return made, []
    by = f"{writer.name} ({writer.version})" if writer else "flywheel evolution cases"
    proposed = [propose(project.stores.ledger, draft, by) for draft in drafts]
    return made, [each for each in proposed if each]


def propose_regressions(
    project: Project, is_dry: bool = False
) -> tuple[Regressions, Proposal | None]:
    """Propose what people corrected as cases; None where no correction is new."""
    text = read_kept(folder_of(project.folder) / REGRESSIONS)
    kept = read_cases(REGRESSIONS, text)
    found = find_regressions(project.stores, kept, project.settings.privacy)
    if is_dry or not found.cases:
        return found, None
    draft = Draft(
        kind="case",
        subject=REGRESSIONS,
        change="redefine" if text else "add",
        before=text,
        after=with_cases(text, found.cases),
        why="People corrected these answers; a case each says when one comes again.",
        evidence=_evidence_of(found),
        shown_by=tuple((case.trace_id, case.content_hash) for case in found.cases),
    )
    return found, propose(project.stores.ledger, draft, "flywheel evolution cases")


def source_of(project: Project, plan: Plan) -> RowSource:
    """Where the rows of a plan's cases come from."""
    if plan.rows is None:
        return MadeUp()
    return own_rows(folder_of(project.folder), plan.rows, project.settings.privacy)


def all_plans(project: Project) -> list[str]:
    """The names of a project's files of dimensions."""
    return plans_in(folder_of(project.folder))


def _style(project: Project, app: str) -> tuple[str, ...]:
    """What users of an application said first; none without one."""
    if not app:
        return ()
    with project.stores.warehouse.read() as connection:
        rows = connection.rows(
            "evolution/user_words", app=app, characters=_STYLE_CHARACTERS, limit=_STYLES
        )
    return tuple(str(row[1]) for row in rows)


def _drafts(made: Made, text: str | None, declared: str) -> list[Draft]:
    drafts = []
    if made.cases:
        drafts.append(
            Draft(
                kind="case",
                subject=f"{made.plan.name}.jsonl",
                change="redefine" if text else "add",
                before=text,
                after=with_cases(text, made.cases),
                why=f"{made.before.of - made.before.covered} pairs of values stood in no case.",
                evidence=_evidence(made),
            )
        )
    if made.review.more:
        named = ", ".join(f"{name} {value!r}" for name, value in made.review.more)
        drafts.append(
            Draft(
                kind="case",
                subject=f"{made.plan.name}.toml",
                change="redefine",
                before=declared,
                after=appended(declared, made.review.more),
                why=f"The review of the cases named what no dimension has: {named}.",
                evidence=_evidence(made),
            )
        )
    return drafts


def _evidence(made: Made) -> Evidence:
    figures = [_share("pairs of values covered", made.before, made.after)]
    if made.unreviewed and made.reviewed:
        name = "pairs covered, with what the review named"
        figures.append(_share(name, made.unreviewed, made.reviewed))
    is_complete = not made.after.missing
    open_ = "; ".join(
        " with ".join(f"{n} {v}" for n, v in p) for p in made.after.missing[:_MOST_NAMED]
    )
    said = f"{made.after.covered} of {made.after.of}" + (f"; open: {open_}" if open_ else "")
    checks = [
        Check("every pair that can be is covered", is_complete, said),
        Check("answers are computed by code", True, f"{len(made.cases)} questions"),
        Check("no copied words and no personal data", True, "what had any is left out"),
    ]
    return Evidence(
        f"{len(made.cases)} new cases cover {_per_cent(made.after)} of the pairs of values, "
        f"{_per_cent(made.before)} before.",
        tuple(figures),
        tuple(checks),
        (
            *made.notes,
            *_left_out(made.left_out),
            "Pairs are counted, so that no share has a doubt.",
        ),
    )


def _evidence_of(found: Regressions) -> Evidence:
    return Evidence(
        f"{len(found.cases)} of {found.corrections} corrections become cases.",
        (
            Figure(
                "cases", Interval(*[float(len(found.cases))] * 3), None, found.corrections, "count"
            ),
        ),
        (
            Check("no trace of the holdout", True, "the gate alone looks at those"),
            Check("no words of a trace", True, "a case names the trace and the message"),
        ),
        tuple(_left_out(found.left_out)),
    )


def _share(name: str, before: Coverage, after: Coverage) -> Figure:
    was, now = (each.covered / each.of if each.of else 1.0 for each in (before, after))
    return Figure(name, Interval(now, now, now), Interval(was, was, was), after.of)


def _per_cent(pairs: Coverage) -> str:
    return f"{pairs.covered / pairs.of if pairs.of else 1:.1%}"


def _left_out(counts: Mapping[str, int]) -> list[str]:
    return [f"Left out: {n} ({why})." for why, n in sorted(counts.items())]
