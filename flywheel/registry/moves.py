"""Moves: a champion is an alias that moves, and can be moved back.

A version in, `Promotion` out; the one idea is that nothing is overwritten, and that the audit log
says who moved what and why. What reads an alias does so when a run starts, so a new champion works
from the next run on.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

import sqlalchemy as sa

from flywheel.errors import Refused
from flywheel.records import JUDGE_TARGET
from flywheel.registry.versions import (
    CHALLENGER,
    CHAMPION,
    SHADOW,
    Version,
    carrier_of,
    enter,
    version_of,
)
from flywheel.settings import GateSettings
from flywheel.store.ledger import Ledger, in_utc, now, record_action
from flywheel.store.tables import aliases, audit_log

if TYPE_CHECKING:
    from flywheel.gate import GateVerdict


@dataclass(frozen=True, slots=True)
class Promotion:
    """A move of an alias; None is no version, before or now."""

    previous: str | None
    current: str | None


@dataclass(frozen=True, slots=True)
class AliasMove:
    """An entry of a target's history: who moved which alias, where from, where to, and why.

    `version` is None where the alias was taken away.
    """

    happened_at: datetime
    actor: str
    action: str
    alias: str
    previous: str | None
    version: str | None
    why: str


def set_alias(
    ledger: Ledger, target: str, alias: str, version: str, actor: str, why: str
) -> Promotion:
    """Put an alias on a version; nothing happens where it stands there already.

    The gate is not asked: `promote` is the way to a new champion. Raises NotFound.
    """
    with _moving(ledger, target) as connection:
        version_of(connection, target, version)
        return _move(connection, "set_alias", target, alias, version, actor, why)


def register_as(
    ledger: Ledger,
    alias: str,
    target: str,
    version: str,
    manifest: Mapping[str, object],
    artifact: str | None,
    parent: str | None,
    actor: str,
    why: str,
    learnt: Mapping[int, str] = MappingProxyType({}),
) -> Promotion:
    """What `register` and `set_alias` do, both or neither. Raises BadInput as `register` does."""
    with _moving(ledger, target) as connection:
        enter(connection, target, version, manifest, artifact, parent, actor, learnt)
        return _move(connection, "set_alias", target, alias, version, actor, why)


def set_shadow(ledger: Ledger, target: str, version: str, actor: str, why: str) -> Promotion:
    """Let a version score beside the champion from the next run on; its verdicts are kept apart.

    Raises Refused on the champion itself, NotFound.
    """
    with _moving(ledger, target) as connection:
        version_of(connection, target, version)
        if carrier_of(connection, target, CHAMPION) == version:
            raise Refused(f"{version!r} is the champion of {target}; a shadow is another version")
        return _move(connection, "set_shadow", target, SHADOW, version, actor, why)


def clear_shadow(ledger: Ledger, target: str, actor: str, why: str, seen: str | None = None) -> str:
    """Let nothing score beside the champion any more; the version that did.

    Raises Refused where there is none, or another than `seen`.
    """
    with _moving(ledger, target) as connection:
        version = carrier_of(connection, target, SHADOW)
        if version is None:
            raise Refused(f"{target} has no shadow to clear")
        if seen not in (None, version):
            raise Refused(f"the shadow of {target} is {version!r}, and not {seen!r}; look again")
        _clear(connection, target, SHADOW, version)
        detail = {"alias": SHADOW, "previous": version, "version": None, "why": why}
        record_action(connection, actor, "clear_shadow", f"{target}@{SHADOW}", **detail)
    return version


def promote(
    ledger: Ledger,
    target: str,
    version: str,
    actor: str,
    why: str,
    force: bool = False,
    seen: str | None = None,
) -> Promotion:
    """Make a version the champion, from the next run on.

    Its last gate verdict must have passed, against the champion of now; `force` goes without and is
    logged as such; the first champion of a target needs none, and none that refused it. `seen` is
    the champion that whoever asks has seen. Raises Refused, also where it is another by now;
    NotFound.
    """
    with _moving(ledger, target) as connection:
        candidate = version_of(connection, target, version)
        champion = carrier_of(connection, target, CHAMPION)
        _check_seen(target, champion, seen)
        if not force and champion != version:
            _check_gate(candidate, champion, carrier_of(connection, JUDGE_TARGET, CHAMPION))
        action = "force_promote" if force else "promote"
        moved = _move(connection, action, target, CHAMPION, version, actor, why)
        for alias in (CHALLENGER, SHADOW):
            _clear(connection, target, alias, version)
    return moved


def follow_verdict(
    ledger: Ledger, target: str, verdict: "GateVerdict", settings: GateSettings, actor: str
) -> Promotion | None:
    """Promote what passed the gate where `promotion` is auto; otherwise a person has to approve.

    None where the champion stays: also where it is another than the verdict's by now, and where the
    challenger was rolled back once, since only a person may overrule a person.
    """
    with ledger.read() as connection:
        champion = carrier_of(connection, target, CHAMPION) or carrier_of(
            connection, JUDGE_TARGET, CHAMPION
        )
        moves = _moves(connection, target)
    withdrawn = {move.previous for move in moves if move.action == "rollback"}
    if settings.promotion != "auto" or not verdict.passed:
        return None
    if champion not in (None, verdict.champion) or verdict.challenger in withdrawn:
        return None
    return promote(ledger, target, verdict.challenger, actor, verdict.why[-1])


def rollback(
    ledger: Ledger, target: str, actor: str, why: str = "", seen: str | None = None
) -> Promotion:
    """Make the champion before this one the champion again.

    The first champion of a target loses the alias, and what was in use before it is again: the
    judge that reads for all, or the model without an adapter; that of all applications stays. A
    second rollback goes one further back, not forward again. `seen` is as in `promote`. Raises
    Refused where there is nothing to go back from, or to.
    """
    with _moving(ledger, target) as connection:
        _check_seen(target, carrier_of(connection, target, CHAMPION), seen)
        line = _champions(connection, target)
        if not line:
            raise Refused(f"{target} has no champion to go back from")
        said = f"back from {line[-1]}" + (f": {why}" if why else "")
        if len(line) > 1:
            return _move(connection, "rollback", target, CHAMPION, line[-2], actor, said)
        if target == JUDGE_TARGET:
            raise Refused(f"the champion of {target} has no predecessor to go back to")
        _clear(connection, target, CHAMPION, line[-1])
        detail = {"alias": CHAMPION, "previous": line[-1], "version": None, "why": said}
        record_action(connection, actor, "rollback", f"{target}@{CHAMPION}", **detail)
        return Promotion(line[-1], None)


def history(ledger: Ledger, target: str) -> list[AliasMove]:
    """Every move of an alias of a target, oldest first."""
    with ledger.read() as connection:
        return _moves(connection, target)


def predecessor(ledger: Ledger, target: str) -> str | None:
    """The champion that a rollback would bring back.

    Empty where it would leave the target without one, None where it would be refused.
    """
    with ledger.read() as connection:
        line = _champions(connection, target)
    if len(line) > 1:
        return line[-2]
    return "" if line and target != JUDGE_TARGET else None


@contextmanager
def _moving(ledger: Ledger, target: str) -> Iterator[sa.Connection]:
    """A transaction in which nobody else moves an alias of the target, on Postgres too."""
    with ledger.begin() as connection:
        standing = sa.select(aliases.c.alias).where(aliases.c.target == target)
        connection.execute(standing.with_for_update())
        yield connection


def _check_seen(target: str, champion: str | None, seen: str | None) -> None:
    if seen is not None and seen != (champion or ""):
        raise Refused(
            f"the champion of {target} is {champion!r} by now, and was {seen!r}; look again"
        )


def _check_gate(candidate: Version, champion: str | None, of_all: str | None) -> None:
    verdict, name = candidate.verdict, candidate.version
    if champion is None:
        if verdict is None:
            return
        # An application's first judge takes the place of the one that reads for all.
        champion = of_all or verdict.champion
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
    previous = carrier_of(connection, target, alias)
    if previous == version:
        return Promotion(previous, version)
    connection.execute(aliases.delete().where(aliases.c.target == target, aliases.c.alias == alias))
    connection.execute(
        aliases.insert().values(target=target, alias=alias, version=version, since=now())
    )
    detail = {"alias": alias, "previous": previous, "version": version, "why": why}
    record_action(connection, actor, action, f"{target}@{alias}", **detail)
    return Promotion(previous, version)


def _clear(connection: sa.Connection, target: str, alias: str, version: str) -> None:
    """Take an alias off a version; nothing happens where it stands elsewhere."""
    mine = (aliases.c.target == target, aliases.c.alias == alias, aliases.c.version == version)
    connection.execute(aliases.delete().where(*mine))


def _moves(connection: sa.Connection, target: str) -> list[AliasMove]:
    rows = connection.execute(
        sa.select(audit_log)
        .where(audit_log.c.subject.startswith(f"{target}@", autoescape=True))
        .order_by(audit_log.c.entry_id)
    ).all()
    return [
        AliasMove(in_utc(row.happened_at), row.actor, row.action, **json.loads(row.detail))
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
        elif move.version is not None:
            line.append(move.version)
    return line
