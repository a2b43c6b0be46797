"""Versions: what was made for a target, from what, and which aliases stand on it now.

Manifests in, `Version` out; the one idea is that a version is entered once and never changed.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

import sqlalchemy as sa

from flywheel.errors import BadInput, NotFound
from flywheel.records import JUDGE_TARGET
from flywheel.registry.lineage import record_lineage
from flywheel.store.ledger import Ledger, in_utc, now, record_action
from flywheel.store.tables import aliases, versions

# Seconds to import, which a web server that is asked for no version does without.
if TYPE_CHECKING:
    from flywheel.gate import GateVerdict

CHAMPION, CHALLENGER, SHADOW = "champion", "challenger", "shadow"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a target such as the judge, with the aliases that stand on it now.

    `verdict` is the gate's last word on it as a challenger; None where it was never one.
    """

    version: str
    target: str
    manifest: Mapping[str, object]
    artifact: str | None
    parent: str | None
    created_at: datetime
    aliases: tuple[str, ...] = ()
    verdict: "GateVerdict | None" = None


def register(
    ledger: Ledger,
    target: str,
    version: str,
    manifest: Mapping[str, object],
    artifact: str | None,
    parent: str | None,
    actor: str,
    learnt: Mapping[int, str] = MappingProxyType({}),
) -> Version:
    """Make a version known; a version that is known already stays as it was first registered.

    `learnt` names the decisions that it was made from, each with the part of the data that it stood
    in: train, validation, calibration or negative.

    Raises BadInput where the version belongs to another target.
    """
    with ledger.begin() as connection:
        enter(connection, target, version, manifest, artifact, parent, actor, learnt)
        return version_of(connection, target, version)


def enter(
    connection: sa.Connection,
    target: str,
    version: str,
    manifest: Mapping[str, object],
    artifact: str | None,
    parent: str | None,
    actor: str,
    learnt: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """What `register` does, in the caller's transaction."""
    row = connection.execute(sa.select(versions).where(versions.c.version == version)).first()
    if row is None:
        connection.execute(
            versions.insert().values(
                version=version,
                target=target,
                manifest=json.dumps(dict(manifest), sort_keys=True),
                artifact=artifact,
                parent=parent,
                created_at=now(),
            )
        )
        record_lineage(connection, version, learnt)
        record_action(connection, actor, "register", f"{target}/{version}", parent=parent)
    elif row.target != target:
        raise BadInput(f"version {version!r} is a {row.target} already, and no {target}")


def alias_of(ledger: Ledger, target: str, alias: str) -> Version | None:
    """The version that carries an alias now, or None."""
    with ledger.read() as connection:
        version = carrier_of(connection, target, alias)
        return version_of(connection, target, version) if version else None


def list_versions(ledger: Ledger, target: str) -> list[Version]:
    """Every version of a target with its aliases and last gate verdict, newest first."""
    with ledger.read() as connection:
        return versions_of(connection, target)


def find_version(ledger: Ledger, target: str, name: str) -> Version:
    """A version by its name, or the carrier of an alias; raises NotFound."""
    with ledger.read() as connection:
        return version_of(connection, target, carrier_of(connection, target, name) or name)


def known_targets(ledger: Ledger) -> list[str]:
    """The targets that have a version, by name, the judge of all applications first."""
    with ledger.read() as connection:
        found = connection.scalars(sa.select(versions.c.target).distinct()).all()
    return sorted(found, key=lambda name: (name != JUDGE_TARGET, name))


def targets_of_versions(ledger: Ledger, names: Iterable[str]) -> dict[str, str]:
    """The target of each version of these names that is known."""
    asked = sa.select(versions.c.version, versions.c.target).where(versions.c.version.in_(names))
    with ledger.read() as connection:
        return {row.version: row.target for row in connection.execute(asked)}


def targets_with(ledger: Ledger, alias: str) -> dict[str, str]:
    """The version that carries an alias now, by the target, of all targets that have it."""
    placed = sa.select(aliases.c.target, aliases.c.version).where(aliases.c.alias == alias)
    with ledger.read() as connection:
        rows = connection.execute(placed.order_by(aliases.c.target)).all()
    return {row.target: row.version for row in rows}


def versions_of(connection: sa.Connection, target: str) -> list[Version]:
    """What `list_versions` gives, in the caller's transaction."""
    from flywheel.gate import verdicts_of

    rows = connection.execute(
        sa.select(versions)
        .where(versions.c.target == target)
        .order_by(versions.c.created_at.desc(), versions.c.version)
    ).all()
    placed = connection.execute(
        sa.select(aliases).where(aliases.c.target == target).order_by(aliases.c.alias)
    ).all()
    verdicts = {verdict.challenger: verdict for verdict in verdicts_of(connection, target)}
    return [
        Version(
            row.version,
            row.target,
            json.loads(row.manifest),
            row.artifact,
            row.parent,
            in_utc(row.created_at),
            tuple(alias.alias for alias in placed if alias.version == row.version),
            verdicts.get(row.version),
        )
        for row in rows
    ]


def version_of(connection: sa.Connection, target: str, version: str) -> Version:
    """A version of a target, in the caller's transaction; raises NotFound."""
    known = {found.version: found for found in versions_of(connection, target)}
    if version not in known:
        raise NotFound(f"version of {target}", version, list(known))
    return known[version]


def carrier_of(connection: sa.Connection, target: str, alias: str) -> str | None:
    """The version that carries an alias now, in the caller's transaction, or None."""
    this = (aliases.c.target == target, aliases.c.alias == alias)
    return connection.scalar(sa.select(aliases.c.version).where(*this))
