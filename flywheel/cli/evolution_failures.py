"""`flywheel evolution modes` and `digest`: how conversations fail, and what was corrected."""

import getpass
from datetime import datetime
from pathlib import Path

import click

from flywheel.cli.output import as_json, emit, emit_rows, words
from flywheel.store import find_project


@click.command()
@click.option(
    "--name",
    "named",
    type=(click.IntRange(1), str),
    metavar="MODE NAME",
    help="Give a mode a name, which stays, and look for none.",
)
@as_json
@click.pass_obj
def modes(folder: Path, named: tuple[int, str] | None, as_json: bool) -> None:
    """Group the conversations in which an error was seen, and show what is new and what grows."""
    from flywheel.evolution.failures.looking import look_for_modes
    from flywheel.evolution.failures.remembered import rename

    project = find_project(folder)
    if named:
        emit(rename(project.stores.ledger, *named, getpass.getuser()), as_json)
        return
    found = look_for_modes(project)
    if as_json:
        emit(found, as_json)
        return
    words.print(found.why or f"{found.n_alone} of {found.n_read} fail each in its own way.")
    columns = ("mode", "name", "new", "conversations", "share", "low", "high", "trend", "by week")
    rows = [
        (
            *(one.mode_id, one.name, "yes" if one.is_new else "no", one.n),
            *(one.share.estimate, one.share.low, one.share.high, one.frequency.trend),
            " ".join(map(str, one.weekly)),
        )
        for one in found.modes
    ]
    emit_rows(columns, rows, as_json)


@click.command()
@click.option(
    "--week",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="MONDAY",
    help="Its first day; else the last week that has ended.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="A file, in place of stdout."
)
@as_json
@click.pass_obj
def digest(folder: Path, week: datetime | None, out: Path | None, as_json: bool) -> None:
    """What people corrected in a week and why, in Markdown for the team."""
    from flywheel.evolution.failures.digest import last_decided_week
    from flywheel.evolution.failures.looking import tell_the_week

    project = find_project(folder)
    made = tell_the_week(project, week.date() if week else None)
    if not made.n_decisions and (last := last_decided_week(project.stores.ledger)):
        words.print(f"nobody decided in that week; the last decisions are of --week {last}")
    if out:
        out.write_text(made.markdown, encoding="utf-8")
        words.print(f"written to {out}")
    if as_json:
        emit(made, as_json)
    elif not out:
        click.echo(made.markdown, nl=False)
