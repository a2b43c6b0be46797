"""The look at failure modes of a project and its week's digest, and who is told of them.

A project in; its modes, the digest, and messages by its rules, out.
"""

from datetime import date, datetime

from flywheel.evolution.failures.digest import Digest, write_digest
from flywheel.evolution.failures.modes import Modes, find_modes
from flywheel.in_use import embedder_of
from flywheel.models.writer import writer_of
from flywheel.quality.announcing import announce, rules_of_modes
from flywheel.store import Project
from flywheel.store.ledger import now


def look_for_modes(project: Project, at: datetime | None = None) -> Modes:
    """Find the modes of the last weeks, and tell whom the rules name of new ones.

    Raises BadSetting or NotFound where `evolution.model` names no endpoint.
    """
    stores, settings, at = project.stores, project.settings, at or now()
    writer = writer_of(settings, stores.ledger) if settings.evolution.model else None
    found = find_modes(stores, settings, embedder_of(project), writer, at)
    announce(stores, rules_of_modes(settings.alerts), at)
    return found


def tell_the_week(
    project: Project, monday: date | None = None, at: datetime | None = None
) -> Digest:
    """Write the digest of a week, the last whole one unless named, and tell whom the rules name."""
    at = at or now()
    made = write_digest(project.stores, at, monday)
    announce(project.stores, rules_of_modes(project.settings.alerts), at)
    return made
