"""A user forgotten, and forgotten again where a store does not know of it.

See `holders` for who holds what. Only one process forgets at a time; the web app and the pipeline
go on meanwhile, since each store is held as briefly as by anybody else.
"""

import json
import secrets
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field

import sqlalchemy as sa

from flywheel.errors import BadInput
from flywheel.forgetting import archives
from flywheel.forgetting.indexes import rewrite_indexes
from flywheel.forgetting.ledger_rows import adapters_of, remove_rows
from flywheel.forgetting.proposed import forget_in_cases
from flywheel.forgetting.record_keeping import rename_in_records
from flywheel.forgetting.selection import Owner, Selection, owners, select_gone
from flywheel.forgetting.waiting import sift_inbox
from flywheel.forgetting.warehouse_rows import (
    forgettings_known,
    note_forgettings,
    remove_from_warehouse,
)
from flywheel.store import Project
from flywheel.store.ledger import now
from flywheel.store.tables import forgettings
from flywheel.store.tombstones import Tombstone, Tombstones
from flywheel.traces.forgotten import Known

# Which forgettings the artifacts have been through, in their folder.
MARKS = ".forgotten"
# What no program can promise.
_ON_POSTGRES = (
    "Postgres's archived log, its replicas and backups keep what they have until they are recycled"
)
_ON_COPIES = "copies that were published or exported before are not ours to change"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was removed where; nothing in it names anybody.

    `removed` counts rows, lines and files by where they were. `adapters` had learnt from the user
    and are still there. `left_in_place` are files that were imported without a copy. `is_clean`
    says that no byte is left in the ledger's files; otherwise it was in use: run it again.
    """

    forgetting_id: str
    forgotten_at: str
    user_hash: str
    app: str
    removed: Mapping[str, int] = field(default_factory=dict)
    adapters: tuple[str, ...] = ()
    left_in_place: tuple[str, ...] = ()
    is_clean: bool = True
    not_promised: tuple[str, ...] = ()


def forget_user(project: Project, user: str, app: str | None = None) -> Receipt:
    """Remove everything of a user, in one application or in all; called again it completes.

    Raises BadInput on an empty name.
    """
    if not user.strip():
        raise BadInput("name the user to forget, as `user_id` of the traces has it")
    tombstones = _tombstones(project)
    with alone(project):
        lines = tombstones.of_user(user, app or "")
        if not lines:
            mark = tombstones.mark("user", user, app or "")
            lines = [Tombstone(f"f-{secrets.token_hex(8)}", now().isoformat(), app or "", mark)]
            tombstones.add(lines[0])
        _mark_traces(project, tombstones, lines, user)
        return _remove_all(project, tombstones, lines[0].forgetting_id)


def reapply(project: Project, force: bool = False) -> Receipt | None:
    """Forget again what a store that was put back still holds; None where there is nothing.

    Cheap where every store knows of every forgetting and no new trace names a forgotten user.
    """
    tombstones = _tombstones(project)
    if not tombstones:
        return None
    with alone(project):
        if force or _is_older(project, tombstones) or select_gone(project, tombstones):
            return _remove_all(project, tombstones, tombstones.lines()[-1].forgetting_id)
    return None


def remove_gone(project: Project, known: Known, gone: Selection) -> tuple[Counter[str], list[str]]:
    """Remove a selection from every store; what went, and the files that are not ours to change.

    Files first, then the ledger, then the warehouse: what names the selection goes last.
    """
    stores, tombstones = project.stores, _tombstones(project)

    def pseudonym(name: str) -> str:
        return f"forgotten-{tombstones.mark('trace', name)[:12]}"

    n: Counter[str] = Counter()
    n += archives.rewrite_archives(stores, known)
    left = archives.files_left_in_place(stores, known)
    n += sift_inbox(stores.ledger, known)
    n += rewrite_indexes(stores, gone)
    n += archives.rewrite_snapshots(stores, gone)
    n += archives.blank_packs(stores, gone)
    n += archives.withdraw_publications(stores, gone)
    n += forget_in_cases(project.folder, gone.traces)
    n += rename_in_records(project.data_dir / "dagster", gone.names, pseudonym)
    n += Counter(
        {f"ledger: {k}": v for k, v in remove_rows(stores.ledger, gone, pseudonym).items()}
    )
    of_warehouse = remove_from_warehouse(stores, gone)
    n += Counter({f"warehouse: {k}": v for k, v in of_warehouse.items()})
    stores.warehouse.rewrite()
    return n, left


def _remove_all(project: Project, tombstones: Tombstones, forgetting_id: str) -> Receipt:
    """Remove whatever any tombstone speaks of, note it in every store, and write the receipt."""
    gone = select_gone(project, tombstones)
    n, left = remove_gone(project, tombstones, gone)
    lines = [line for line in tombstones.lines() if line.forgetting_id == forgetting_id]
    is_postgres = project.stores.ledger.url.startswith("postgresql")
    receipt = Receipt(
        forgetting_id,
        now().isoformat(),
        lines[0].user,
        lines[0].app,
        dict(sorted((+n).items())),
        tuple(sorted({name for line in lines for name in line.adapters})),
        tuple(left),
        True,
        (_ON_COPIES, _ON_POSTGRES) if is_postgres else (_ON_COPIES,),
    )
    ids = {line.forgetting_id for line in tombstones.lines()}
    note_forgettings(project.stores, ids)
    _note_in_artifacts(project, ids)
    _keep(project, tombstones, receipt)
    if project.stores.ledger.vacuum():
        return receipt
    return Receipt(**asdict(receipt) | {"is_clean": False})


def _mark_traces(
    project: Project, tombstones: Tombstones, lines: list[Tombstone], user: str
) -> None:
    """Leave tombstones of the user's traces and sessions, as far as the warehouse knows them."""
    first = lines[0]
    with project.stores.warehouse.read() as connection:
        known = owners(connection)
    theirs, sessions = _theirs(known, user, first.app)
    traces = {tombstones.mark("trace", trace_id) for trace_id in theirs}
    new = sorted(traces - {mark for line in lines for mark in line.traces})
    if not new and len(lines) > 1:
        return
    gone = select_gone(project, tombstones)
    tombstones.add(
        Tombstone(
            first.forgetting_id,
            now().isoformat(),
            first.app,
            first.user,
            tuple(new),
            tuple(sorted(tombstones.mark("session", name) for name in sessions)),
            tuple(adapters_of(project.stores.ledger, gone.examples)),
        )
    )


def _theirs(known: list[Owner], user: str, app: str) -> tuple[set[str], set[str]]:
    """The user's traces, and the sessions that are theirs alone, with the traces that name nobody.

    A session in which somebody else speaks too stays, but for the user's own traces.
    """
    of_session: dict[tuple[str, str], set[str | None]] = {}
    for owner in known:
        of_session.setdefault((owner.app, owner.session_id), set()).add(owner.user_id)
    traces, sessions = set(), set()
    for owner in known:
        if app not in ("", owner.app):
            continue
        is_alone = of_session[owner.app, owner.session_id] - {None, ""} == {user}
        if owner.user_id == user or is_alone:
            traces.add(owner.trace_id)
        if is_alone:
            sessions.add(owner.session_id)
    return traces, sessions


def _tombstones(project: Project) -> Tombstones:
    own = project.stores.tombstones
    return own or Tombstones(project.folder, project.data_dir / "forgetting.lock")


def _is_older(project: Project, tombstones: Tombstones) -> bool:
    """Whether a store has not been through every forgetting."""
    ids = {line.forgetting_id for line in tombstones.lines()}
    with project.stores.ledger.read() as ledger:
        in_ledger = set(ledger.scalars(sa.select(forgettings.c.forgetting_id)))
    marks = project.stores.artifacts.root / MARKS
    in_artifacts = set(marks.read_text(encoding="utf-8").split()) if marks.exists() else set()
    return not ids <= in_ledger & in_artifacts & forgettings_known(project.stores)


def _note_in_artifacts(project: Project, ids: set[str]) -> None:
    root = project.stores.artifacts.root
    root.mkdir(parents=True, exist_ok=True)
    (root / MARKS).write_text("".join(f"{name}\n" for name in sorted(ids)), encoding="utf-8")


def _keep(project: Project, tombstones: Tombstones, receipt: Receipt) -> None:
    """The receipt in the ledger; of those that it does not know, that they are done as well."""
    with project.stores.ledger.begin() as ledger:
        known = dict(
            ledger.execute(sa.select(forgettings.c.forgetting_id, forgettings.c.receipt)).all()
        )
        for line in tombstones.lines():
            if not line.user or line.forgetting_id in known:
                continue
            about = receipt if line.forgetting_id == receipt.forgetting_id else None
            kept = asdict(about) if about else {"forgetting_id": line.forgetting_id}
            known[line.forgetting_id] = json.dumps(kept)
            ledger.execute(
                forgettings.insert().values(
                    forgetting_id=line.forgetting_id,
                    user_hash=line.user,
                    app=line.app,
                    receipt=known[line.forgetting_id],
                    forgotten_at=now(),
                )
            )


def alone(project: Project) -> AbstractContextManager[None]:
    """One forgetting at a time: the second waits, and then finds what the first has done.

    Who imports or drains waits too, and is waited for: nobody stores what was read before.
    """
    return _tombstones(project).changing()
