"""The registry: versions of judges, the aliases that move over them, and who moved them.

Manifests in, `Version` out; the one idea is that a champion is an alias. Promotion moves it, a
rollback moves it back, nothing is ever overwritten, and the audit log says who did what and why.
The judge reads the alias when a run starts, so a new champion works from the next run on.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from flywheel.errors import BadInput, NotFound, Refused
from flywheel.gate import GateVerdict, verdicts_of
from flywheel.settings import GateSettings
from flywheel.store import Stores
from flywheel.store.ledger import Ledger, now, record_action
from flywheel.store.tables import aliases, audit_log, versions

CHAMPION, CHALLENGER = "champion", "challenger"


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
    verdict: GateVerdict | None = None


@dataclass(frozen=True, slots=True)
class Promotion:
    """A move of the champion; `previous` is None where there was none before."""

    previous: str | None
    current: str


@dataclass(frozen=True, slots=True)
class AliasMove:
    """An entry of a target's history: who moved which alias, where from, where to, and why."""

    happened_at: datetime
    actor: str
    action: str
    alias: str
    previous: str | None
    version: str
    why: str


def register(
    ledger: Ledger,
    target: str,
    version: str,
    manifest: Mapping[str, object],
    artifact: str | None,
    parent: str | None,
    actor: str,
) -> Version:
    """Make a version known; a version that is known already stays as it was first registered.

    Raises BadInput where the version belongs to another target.
    """
    with ledger.begin() as connection:
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
            record_action(connection, actor, "register", f"{target}/{version}", parent=parent)
        elif row.target != target:
            raise BadInput(f"version {version!r} is a {row.target} already, and no {target}")
        return _version_of(connection, target, version)


def alias_of(ledger: Ledger, target: str, alias: str) -> Version | None:
    """The version that carries an alias now, or None."""
    with ledger.begin() as connection:
        version = _carrier(connection, target, alias)
        return _version_of(connection, target, version) if version else None


def set_alias(
    ledger: Ledger, target: str, alias: str, version: str, actor: str, why: str
) -> Promotion:
    """Put an alias on a version; nothing happens where it stands there already.

    The gate is not asked: `promote` is the way to a new champion. Raises NotFound.
    """
    with ledger.begin() as connection:
        _version_of(connection, target, version)
        return _move(connection, "set_alias", target, alias, version, actor, why)


def promote(
    ledger: Ledger, target: str, version: str, actor: str, why: str, force: bool = False
) -> Promotion:
    """Make a version the champion, from the next run on.

    Its last gate verdict must have passed, against the champion of now; `force` goes without and is
    logged as such; the first champion of a target needs none. Raises Refused, NotFound.
    """
    with ledger.begin() as connection:
        candidate = _version_of(connection, target, version)
        champion = _carrier(connection, target, CHAMPION)
        if not force and champion not in (None, version):
            _check_gate(candidate, champion)
        action = "force_promote" if force else "promote"
        moved = _move(connection, action, target, CHAMPION, version, actor, why)
        connection.execute(
            aliases.delete().where(
                aliases.c.target == target,
                aliases.c.alias == CHALLENGER,
                aliases.c.version == version,
            )
        )
    return moved


def follow_verdict(
    ledger: Ledger, target: str, verdict: GateVerdict, settings: GateSettings, actor: str
) -> Promotion | None:
    """Promote what passed the gate where `promotion` is auto; otherwise a person has to approve.

    None where the champion stays: also where it is another than the verdict's by now, and where the
    challenger was rolled back once, since only a person may overrule a person.
    """
    with ledger.begin() as connection:
        champion = _carrier(connection, target, CHAMPION)
        moves = _moves(connection, target)
    withdrawn = {move.previous for move in moves if move.action == "rollback"}
    if settings.promotion != "auto" or not verdict.passed:
        return None
    if champion not in (None, verdict.champion) or verdict.challenger in withdrawn:
        return None
    return promote(ledger, target, verdict.challenger, actor, verdict.why[-1])


def rollback(ledger: Ledger, target: str, actor: str) -> Promotion:
    """Make the champion before this one the champion again.

    A second rollback goes one further back, not forward again. Raises Refused where there is none.
    """
    with ledger.begin() as connection:
        line = _champions(connection, target)
        if len(line) < 2:
            raise Refused(f"the champion of {target} has no predecessor to go back to")
        why = f"back from {line[-1]}"
        return _move(connection, "rollback", target, CHAMPION, line[-2], actor, why)


def list_versions(ledger: Ledger, target: str) -> list[Version]:
    """Every version of a target with its aliases and last gate verdict, newest first."""
    with ledger.begin() as connection:
        return _versions(connection, target)


def export_version(stores: Stores, target: str, name: str, out: Path) -> Path:
    """Copy the files of a version, or of the carrier of an alias, to a new folder.

    Raises BadInput where `out` exists or the version has no files, NotFound as `promote` does.
    """
    if out.exists():
        raise BadInput(f"{out} exists already; name a new folder")
    with stores.ledger.begin() as connection:
        carrier = _carrier(connection, target, name)
        version = _version_of(connection, target, carrier or name)
    if version.artifact is None:
        raise BadInput(f"{version.version} has no files to export")
    shutil.copytree(stores.artifacts.path(f"{target}s", version.artifact), out)
    return out


def history(ledger: Ledger, target: str) -> list[AliasMove]:
    """Every move of an alias of a target, oldest first."""
    with ledger.begin() as connection:
        return _moves(connection, target)


def _versions(connection: sa.Connection, target: str) -> list[Version]:
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
            _utc(row.created_at),
            tuple(alias.alias for alias in placed if alias.version == row.version),
            verdicts.get(row.version),
        )
        for row in rows
    ]


def _version_of(connection: sa.Connection, target: str, version: str) -> Version:
    known = {found.version: found for found in _versions(connection, target)}
    if version not in known:
        raise NotFound(f"version of {target}", version, list(known))
    return known[version]


def _carrier(connection: sa.Connection, target: str, alias: str) -> str | None:
    return connection.execute(
        sa.select(aliases.c.version)
        .where(aliases.c.target == target, aliases.c.alias == alias)
        .with_for_update()
    ).scalar()


def _check_gate(candidate: Version, champion: str | None) -> None:
    verdict, name = candidate.verdict, candidate.version
    if verdict is None:
        raise Refused(f"{name!r} has not been through the gate; run it, or force the promotion")
    if verdict.champion != champion:
        raise Refused(
            f"the gate compared {name!r} with {verdict.champion!r}, and the champion is now "
            f"{champion!r}; run the gate again, or force the promotion"
        )
    if not verdict.passed:
        raise Refused(f"the gate refused {name!r} against {champion!r}: {' '.join(verdict.why)}")


def _move(
    connection: sa.Connection,
    action: str,
    target: str,
    alias: str,
    version: str,
    actor: str,
    why: str,
) -> Promotion:
    previous = _carrier(connection, target, alias)
    if previous == version:
        return Promotion(previous, version)
    connection.execute(aliases.delete().where(aliases.c.target == target, aliases.c.alias == alias))
    connection.execute(
        aliases.insert().values(target=target, alias=alias, version=version, since=now())
    )
    detail = {"alias": alias, "previous": previous, "version": version, "why": why}
    record_action(connection, actor, action, f"{target}@{alias}", **detail)
    return Promotion(previous, version)


def _moves(connection: sa.Connection, target: str) -> list[AliasMove]:
    rows = connection.execute(
        sa.select(audit_log)
        .where(audit_log.c.subject.startswith(f"{target}@", autoescape=True))
        .order_by(audit_log.c.entry_id)
    ).all()
    return [
        AliasMove(_utc(row.happened_at), row.actor, row.action, **json.loads(row.detail))
        for row in rows
    ]


def _champions(connection: sa.Connection, target: str) -> list[str]:
    """The line of champions up to the present one; a rollback takes its last away."""
    line: list[str] = []
    for move in _moves(connection, target):
        if move.alias != CHAMPION:
            continue
        if move.action == "rollback":
            line.pop()
        else:
            line.append(move.version)
    return line


def _utc(when: datetime) -> datetime:
    """SQLite gives back times without their zone; all of them are UTC."""
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
