"""The second wall between training and holdout: what a version has learnt, and that it is not here.

A version's lineage and its training set in, what of the holdout may be compared out. The one idea
is that the gate trusts no training: it looks for itself. A decision or a session of the holdout in
what the challenger has learnt blocks the look; a conversation whose text stands in what either side
has learnt, or a session that the champion once learnt from, is left out and counted.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow.parquet as pq
import sqlalchemy as sa

from flywheel.errors import Leak
from flywheel.records import Conversation
from flywheel.store import Stores
from flywheel.store.tables import lineage, versions
from flywheel.traces.conversations import InputLevers, read_traces
from flywheel.training.dataset import KIND, text_of
from flywheel.training.likeness import screen

# Why an item is not compared.
KNOWN = "said in what either side has learnt from"
# A session or a user: both may have the same name, and are not the same.
Owner = tuple[Literal["session", "user"], str]


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a version was made from: decisions, owners (sessions and users), and what was said.

    Empty for a version that has learnt nothing, such as the judge that needs no labels.
    """

    version: str
    decisions: frozenset[int] = frozenset()
    owners: frozenset[Owner] = frozenset()
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldOut:
    """An item of the holdout: its name, its owners, the decisions on it, and what was said."""

    name: str
    owners: tuple[Owner, ...]
    decisions: tuple[int, ...]
    text: str


def learnt_by(stores: Stores, version: str) -> Learnt:
    """What is known of the making of a registered version; nothing where it is not registered."""
    with stores.ledger.read() as ledger:
        rows = ledger.scalars(
            sa.select(lineage.c.decision_id).where(lineage.c.version == version)
        ).all()
        found = ledger.scalars(
            sa.select(versions.c.manifest).where(versions.c.version == version)
        ).one_or_none()
    manifest = json.loads(found) if found else {}
    # Versions from before there was lineage name the decisions of their labels.
    named = [int(i) for i in manifest.get("corrections", ()) if str(i).isdecimal()]
    decisions = frozenset([*rows, *named])
    if not manifest.get("training_set"):
        return Learnt(version, decisions)
    learnt = pq.read_table(stores.artifacts.whole(KIND, manifest["training_set"])).to_pylist()
    of_chat = _conversations(stores, learnt)
    owners = {owner for row in learnt for owner in _owners_in(row, of_chat)}
    return Learnt(version, decisions, frozenset(owners), tuple(_said_in(learnt, of_chat)))


def owners_of(session_id: object, user_id: object) -> tuple[Owner, ...]:
    """The session and the user of a trace, those that it has."""
    found: list[Owner] = []
    if session_id:
        found.append(("session", str(session_id)))
    if user_id:
        found.append(("user", str(user_id)))
    return tuple(found)


def require_apart(challenger: Learnt, held: Iterable[HeldOut]) -> None:
    """Raises Leak where what is held out is among the decisions or owners that it learnt from."""
    found = {
        owner[1]
        for item in held
        for owner in item.owners
        if owner in challenger.owners or challenger.decisions.intersection(item.decisions)
    }
    if found:
        sides = (f"the training set of {challenger.version}", "the holdout")
        raise Leak(sorted(found), sides, "nothing was decided")


def known_items(held: Sequence[HeldOut], *learnt: Learnt) -> set[str]:
    """Names of the items that either side knows: the owner, or a text that is the same or near."""
    owners = {owner for side in learnt for owner in side.owners}
    texts = [text for side in learnt for text in side.texts]
    same = {_plain(text) for text in texts}
    near = screen([item.text for item in held], range(len(held)), texts)
    apart = set(near.kept)
    return {
        item.name
        for place, item in enumerate(held)
        if place not in apart or owners.intersection(item.owners) or _plain(item.text) in same
    }


def _conversations(stores: Stores, rows: Sequence[dict[str, Any]]) -> dict[str, Conversation]:
    """By trace, the conversations that chat examples are parts of; the encoder's set keeps them."""
    named = {str(row["trace_id"]) for row in rows if row.get("turns") is None}
    if not named:
        return {}
    with stores.warehouse.read() as connection:
        return {found.trace_id: found for found in read_traces(connection, named, InputLevers())}


def _owners_in(row: dict[str, Any], of_chat: dict[str, Conversation]) -> tuple[Owner, ...]:
    """Whom a row is of; the group of a chat example is its user, or its session without one."""
    group = row.get("group")
    if not group:
        return owners_of(row.get("session_id"), row.get("user_id"))
    known = of_chat.get(str(row["trace_id"]))
    if known is None:
        return owners_of(group, group)
    return owners_of(known.session_id, group if group != known.session_id else None)


def _said_in(rows: Sequence[dict[str, Any]], of_chat: dict[str, Conversation]) -> list[str]:
    """What was said in the conversations of a training set."""
    kept = [row["turns"] for row in rows if row.get("turns") is not None]
    said = ["\n".join(turn["text"] for turn in turns) for turns in kept]
    return [*said, *map(text_of, of_chat.values())]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
