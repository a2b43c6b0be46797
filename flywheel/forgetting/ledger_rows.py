"""The ledger without those who must go: their rows deleted, their names in the log replaced.

A selection in, one transaction, and how many rows of which table it took. Nothing of this needs the
warehouse, so that the web app goes on meanwhile.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import sqlalchemy as sa

from flywheel.forgetting.proposed import forget_in_proposals
from flywheel.forgetting.selection import Selection
from flywheel.store.ledger import Ledger
from flywheel.store.tables import (
    audit_log,
    claims,
    comments,
    decisions,
    example_switches,
    exposures,
    feedback,
    imports,
    item_metrics,
    judge_calls,
    lineage,
    panel_outcomes,
    panel_votes,
    proposal_traces,
    queue_items,
    served_examples,
    trace_documents,
    verdict_cache,
    versions,
)

# Names in one statement, well below SQLite's limit on variables.
_AT_ONCE = 500
_READ_AT_ONCE = 5_000

Pseudonym = Callable[[str], str]


def remove_rows(ledger: Ledger, gone: Selection, pseudonym: Pseudonym) -> Counter[str]:
    """Delete and rewrite what the ledger holds of the selection; rows by table."""
    n: Counter[str] = Counter()
    with ledger.begin() as connection:
        _remove_items(connection, gone, n)
        by_user = (feedback.c.user_id, feedback.c.author)
        for column in (*by_user, served_examples.c.user_id, exposures.c.user_id):
            _delete(connection, column, gone.users, n)
        named = (comments, feedback, panel_outcomes, panel_votes, proposal_traces, trace_documents)
        for table in named:
            _delete(connection, table.c.trace_id, gone.traces, n)
        for column in (served_examples.c.trace_id, served_examples.c.example_trace_id):
            _delete(connection, column, gone.traces, n)
        for column in (served_examples.c.session_id, exposures.c.session_id):
            _delete(connection, column, gone.sessions, n)
        _delete(connection, served_examples.c.correction_id, gone.examples, n)
        is_example = example_switches.c.scope == "example"
        _delete(connection, example_switches.c.subject, gone.examples, n, is_example)
        _delete(connection, verdict_cache.c.input_hash, gone.texts, n)
        _remove_decisions(connection, gone, n)
        _forget_similar(connection, gone.examples, n)
        forget_in_proposals(connection, gone.traces, n)
        if gone:
            # What a server answered may quote the text that it was sent.
            said = judge_calls.update().where(judge_calls.c.why.is_not(None)).values(why=None)
            n["judge_calls"] += connection.execute(said).rowcount
        _rename(connection, gone.names, pseudonym, n)
    return n


def adapters_of(ledger: Ledger, examples: set[str]) -> list[str]:
    """Registered versions that were trained on one of these, by their manifests."""
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(versions.c.version, versions.c.manifest).order_by(versions.c.created_at)
        ).all()
    return [
        version
        for version, manifest in rows
        if examples & {str(i) for i in json.loads(manifest).get("corrections", ())}
    ]


def _chunks(names: Iterable[str]) -> Iterator[list[str]]:
    ordered = sorted(names)
    for start in range(0, len(ordered), _AT_ONCE):
        yield ordered[start : start + _AT_ONCE]


def _delete(
    connection: sa.Connection,
    column: "sa.Column[str] | sa.ColumnElement[str]",
    names: Iterable[str],
    n: Counter[str],
    *conditions: sa.ColumnElement[bool],
) -> None:
    table = column.table
    for chunk in _chunks(names):
        deleted = connection.execute(table.delete().where(column.in_(chunk), *conditions))
        n[table.name] += deleted.rowcount


def _remove_items(connection: sa.Connection, gone: Selection, n: Counter[str]) -> None:
    for chunk in _chunks(gone.traces):
        items = sa.select(queue_items.c.item_id).where(queue_items.c.trace_id.in_(chunk))
        for table in (claims, item_metrics):
            deleted = connection.execute(table.delete().where(table.c.item_id.in_(items)))
            n[table.name] += deleted.rowcount
    _delete(connection, queue_items.c.trace_id, gone.traces, n)


def _remove_decisions(connection: sa.Connection, gone: Selection, n: Counter[str]) -> None:
    """Delete decisions; the newest id of all stays taken, or the next decision would get it."""
    newest = connection.scalar(sa.select(sa.func.max(decisions.c.decision_id)))
    for chunk in _chunks(gone.traces):
        theirs = sa.select(decisions.c.decision_id).where(decisions.c.trace_id.in_(chunk))
        learnt = lineage.delete().where(lineage.c.decision_id.in_(theirs))
        n["lineage"] += connection.execute(learnt).rowcount
        deleted = decisions.delete().where(
            decisions.c.trace_id.in_(chunk), decisions.c.decision_id != newest
        )
        n["decisions"] += connection.execute(deleted).rowcount
        nothing = {
            column.name: None
            for column in decisions.c
            if column.nullable and column.name not in ("decision_id",)
        }
        blanked = decisions.update().where(
            decisions.c.trace_id.in_(chunk), decisions.c.decision_id == newest
        )
        empty = {"kind": "undo", "trace_id": "", "content_hash": "", "reviewer": ""}
        blank = connection.execute(blanked.values(nothing | empty))
        n["decisions"] += blank.rowcount


def _forget_similar(connection: sa.Connection, examples: set[str], n: Counter[str]) -> None:
    """Take the examples out of what was found similar to the traces of others."""
    columns = (queue_items.c.item_id, queue_items.c.similar)
    rows = connection.execute(sa.select(*columns).where(queue_items.c.similar.is_not(None)))
    for item_id, similar in rows.all():
        found = json.loads(similar)
        kept = [entry for entry in found if str(entry[0]) not in examples]
        if len(kept) < len(found):
            this = queue_items.update().where(queue_items.c.item_id == item_id)
            connection.execute(this.values(similar=json.dumps(kept)))
            n["queue_items"] += 1


def _rename(
    connection: sa.Connection, names: set[str], pseudonym: Pseudonym, n: Counter[str]
) -> None:
    """Pseudonyms in the audit log and in the names of files."""
    seen = 0
    while True:
        rows = connection.execute(
            sa.select(audit_log)
            .where(audit_log.c.entry_id > seen)
            .order_by(audit_log.c.entry_id)
            .limit(_READ_AT_ONCE)
        ).all()
        for row in rows:
            subject = pseudonym(row.subject) if row.subject in names else row.subject
            before = json.loads(row.detail)
            detail = _renamed(before, names, pseudonym)
            if subject != row.subject or detail != before:
                this = audit_log.update().where(audit_log.c.entry_id == row.entry_id)
                text = json.dumps(detail, sort_keys=True)
                connection.execute(this.values(subject=subject, detail=text))
                n["audit_log"] += 1
        if not rows:
            break
        seen = rows[-1].entry_id
    for import_id, file in connection.execute(sa.select(imports.c.import_id, imports.c.file)).all():
        for name in names:
            if len(name) > 2 and name in file:
                file = file.replace(name, pseudonym(name))
                this = imports.update().where(
                    imports.c.import_id == import_id, imports.c.artifact.is_not(None)
                )
                n["imports"] += connection.execute(this.values(file=file)).rowcount


def _renamed(value: object, names: set[str], pseudonym: Pseudonym) -> object:
    if isinstance(value, str):
        return pseudonym(value) if value in names else value
    if isinstance(value, list):
        return [_renamed(part, names, pseudonym) for part in value]
    if isinstance(value, dict):
        return {key: _renamed(part, names, pseudonym) for key, part in value.items()}
    return value
