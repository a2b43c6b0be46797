"""What is on of redaction, retention and forgetting, in sentences for the doctor."""

from collections.abc import Iterator
from typing import Literal

from flywheel.errors import FlywheelError
from flywheel.redaction import Redactor
from flywheel.settings import Settings
from flywheel.store import Project

# Name, state, sentence, remedy: a finding of the doctor, whose words stand further right.
Found = tuple[str, Literal["ok", "warning", "problem"], str, str]


def privacy_standing(project: Project) -> Iterator[Found]:
    """What is masked, how long traces stay, and who stays forgotten; nothing is made."""
    settings = project.settings
    try:
        Redactor.of(settings.privacy)
    except FlywheelError as error:
        yield "redaction", "problem", str(error), "nothing is imported until it is corrected"
    else:
        yield "redaction", "ok", _masked(settings), ""
    yield "retention", "ok", _kept(settings), ""
    try:
        lines = project.stores.tombstones.lines() if project.stores.tombstones is not None else []
    except FlywheelError as error:
        yield "forgotten", "problem", str(error), "nothing is imported until it is there again"
    else:
        n = len({line.user for line in lines} - {""})
        yield "forgotten", "ok", f"{n} users, by their tombstones beside flywheel.toml", ""


def _masked(settings: Settings) -> str:
    privacy = settings.privacy
    named = [rule.split("=")[0] for rule in privacy.rules]
    fields = [f"{glob} ({action})" for glob, action in privacy.fields.items()]
    parts = [
        f"{what}: {', '.join(names)}"
        for what, names in (
            ("rules", named),
            ("entities", privacy.entities),
            ("fields", fields),
        )
        if names
    ]
    return "; ".join(parts) or "nothing is masked; see [privacy]"


def _kept(settings: Settings) -> str:
    days = settings.traces.retention_days
    parts = [f"{app} {_days(own.days)}" for app, own in settings.retention.items()]
    return "; ".join([f"traces stay {_days(days)}", *parts])


def _days(days: int) -> str:
    return f"{days} days" if days else "for ever"
