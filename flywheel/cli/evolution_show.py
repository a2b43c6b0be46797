"""`flywheel evolution show`: a proposal as a person reads it before saying yes or no.

A proposal in, lines on stdout out. The one idea is that what was measured comes first, and that a
long text is cut here and whole in JSON.
"""

from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flywheel.cli.output import as_json, emit, emit_rows, words
from flywheel.records import Interval
from flywheel.safety import marked
from flywheel.store import find_project

if TYPE_CHECKING:
    from flywheel.evolution.proposals import Proposal

# Of the change: lines, and characters of a line.
_LINES, _CHARACTERS = 60, 200


@click.command()
@click.argument("number", type=click.IntRange(1))
@as_json
@click.pass_obj
def show(folder: Path, number: int, as_json: bool) -> None:
    """A proposal: its change, its evidence, and what became of it; whole with --json."""
    from flywheel.evolution.proposals import find_proposal

    found = find_proposal(find_project(folder).stores.ledger, number)
    if as_json:
        emit(found, as_json)
        return
    _show_head(found)
    figures = found.draft.evidence.figures
    if figures:
        rows = [(one.name, _said(one.before), _said(one.after), one.n) for one in figures]
        emit_rows(("measure", "before", "after", "of"), rows, as_json)
    for check in found.draft.evidence.checks:
        click.echo(f"{'holds' if check.passed else 'FAILS'}  {check.name}: {marked(check.said)}")
    for note in found.draft.evidence.notes:
        click.echo(f"note   {marked(note)}")
    _show_change(found)


def _show_head(found: "Proposal") -> None:
    draft = found.draft
    click.echo(f"{found.proposal_id}  {draft.change} {draft.kind} {draft.subject}: {found.status}")
    click.echo(f"proposed by {marked(found.proposed_by)}, {found.proposed_at:%Y-%m-%d %H:%M} UTC")
    if found.decided_by and found.decided_at:
        at = f"{found.decided_at:%Y-%m-%d %H:%M} UTC"
        click.echo(f"decided by {found.decided_by}, {at}: {marked(found.decided_why or '')}")
    if found.undone_by and found.undone_at:
        at = f"{found.undone_at:%Y-%m-%d %H:%M} UTC"
        click.echo(f"undone by {found.undone_by}, {at}: {marked(found.undone_why or '')}")
    click.echo(f"why: {marked(draft.why)}")
    click.echo(f"measured: {marked(draft.evidence.sentence)}")
    if draft.shown_by:
        traces = ", ".join(marked(trace_id) for trace_id, _ in draft.shown_by[:5])
        more = len(draft.shown_by) - 5
        click.echo(f"shown by: {traces}{f' and {more} more' if more > 0 else ''}")


def _show_change(found: "Proposal") -> None:
    """The change as a difference of lines, cut."""
    before, after = found.draft.before or "", found.text or ""
    lines = list(unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2))[2:]
    for line in lines[:_LINES]:
        shown = marked(line)
        click.echo(shown if len(shown) <= _CHARACTERS else f"{shown[: _CHARACTERS - 1]}…")
    is_cut = len(lines) > _LINES or any(len(line) > _CHARACTERS for line in lines)
    if is_cut:
        words.print(f"{len(lines)} lines, cut; whole with --json or on /proposals")


def _said(interval: Interval | None) -> str:
    if interval is None or interval.estimate != interval.estimate:
        return "-"
    if interval.low == interval.high:
        return f"{interval.estimate:.4g}"
    return f"{interval.estimate:.4g} ({interval.low:.4g} to {interval.high:.4g})"
