"""Corrections served to applications: the published index, and what was decided since.

A request in, the examples most worth showing out, within the process that answers. The one idea is
that each call first asks the ledger what is new, which costs less than a millisecond: what was
taken back, marked as sensitive or switched off is not served from that moment on, whichever process
wrote it. A thread embeds what was added, and reads the next generation when one is published.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Event, Lock, Thread
from typing import TypeAlias

import sqlalchemy as sa

from flywheel.errors import FlywheelError
from flywheel.models.embedder import TextEncoder, Vectors
from flywheel.retrieval.generation import Held
from flywheel.retrieval.index import (
    MANIFEST,
    current_version,
    folder_of,
    read_current,
    read_manifest,
)
from flywheel.retrieval.keys import request_text
from flywheel.retrieval.places import NOWHERE, Place
from flywheel.retrieval.quoting import Quoted, quoted
from flywheel.retrieval.search import EXAMPLE_KINDS, ExampleKind, Found, Published, Wish, find_alike
from flywheel.retrieval.served import ServedFor, ServedLog, served_rows
from flywheel.retrieval.switches import SwitchedOff, switched_off
from flywheel.retrieval.tail import News, Tail, extend_tail, news_since, tail_after, without
from flywheel.safety import injected_instruction
from flywheel.settings import RetrievalSettings
from flywheel.store import Stores
from flywheel.store.ledger import now
from flywheel.store.tables import forgettings
from flywheel.traces.conversations import InputLevers

logger = logging.getLogger("flywheel.retrieval")

# How often the thread looks by itself; a request that finds news wakes it.
LOOK_S = 0.5
# Traces that a request waits for itself; more of them are read while it is answered without.
FEW = 8
# Decisions whose traces are read and embedded together.
MANY = 200
WAIT_S = 0.2
_FORGOTTEN = sa.select(sa.func.count()).select_from(forgettings)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an application asks for; `text` is what its user said. The ids are its own.

    `min_similarity` is that of the settings where it is None. Examples of `place`, the node that
    asks, come first.
    """

    text: str
    app: str
    k: int
    kinds: frozenset[ExampleKind] = frozenset(EXAMPLE_KINDS)
    trace_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    min_similarity: float | None = None
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class Served:
    """Examples, best first, each with what it says; and which examples there were to choose from.

    `index_version` is the generation and the newest decision that was looked at beside it.
    """

    found: tuple[Found, ...]
    said: tuple[Quoted, ...]
    index_version: str


@dataclass(frozen=True, slots=True)
class Serving:
    """What a service has done since it started, and what it holds."""

    requests: int
    examples: int
    empty: int
    published: int
    tail: int
    waiting: int
    lost: int
    version: str


@dataclass(frozen=True, slots=True)
class _State:
    """What is served from at one moment; the last two tell whether that has changed."""

    published: Published | None
    tail: Tail
    mark: tuple[str | None, int]
    n_forgotten: int

    def holds(self, version: str | None) -> bool:
        """Whether it is this generation that is served from."""
        return self.published is not None and self.published.index.version == version

    @property
    def version(self) -> str:
        """By which an answer can be traced to what it was chosen from."""
        name = self.published.index.version if self.published else "none"
        return f"{name}+{self.tail.newest}"


@dataclass(slots=True)
class _Counts:
    requests: int = 0
    examples: int = 0
    empty: int = 0


# What embeds, and what it is given of a turn: loaded with the first call.
Models: TypeAlias = tuple[TextEncoder, InputLevers]


class ExampleService:
    """Examples for applications. Nothing is loaded before the first call, or before `warm_up`."""

    def __init__(
        self,
        stores: Stores,
        settings: RetrievalSettings,
        models: Callable[[], Models],
    ):
        self._stores = stores
        self._settings = settings
        self._models = models
        self.log = ServedLog(stores.ledger)
        self._state: _State | None = None
        self._following = Lock()
        self._poke, self._over = Event(), Event()
        self._thread: Thread | None = None
        self._counting, self._counts = Lock(), _Counts()

    def ask(self, asked: Asked, served_for: ServedFor | None = None) -> Served:
        """The examples for a request, at most `asked.k`; noted where it is said for whom they are.

        Raises BadArtifact where no generation can be read.
        """
        (served,) = self.look([asked])
        return self.note(served, served_for)

    def look(self, ways: Sequence[Asked]) -> list[Served]:
        """What each way of asking for the same request would be served now; nothing is noted."""
        state, off = self._present()
        text, app = request_text(ways[0].text), ways[0].app
        if off.is_all or app in off.apps or not text or not any(asked.k for asked in ways):
            return [Served((), (), state.version)] * len(ways)
        vector = self._embedder.encode([text])
        return [self._found(state, asked, vector, off) for asked in ways]

    def note(self, served: Served, served_for: ServedFor | None) -> Served:
        """Count what an application is given, and write for whom where that is said."""
        if served_for is not None and not self._is_forgotten(served_for):
            self.log.add(served_rows(served_for, served.found, served.index_version))
        return self._count(served)

    def _found(self, state: _State, asked: Asked, vector: Vectors, off: SwitchedOff) -> Served:
        if not asked.k:
            return Served((), (), state.version)
        wish = Wish(
            app=asked.app,
            vector=vector,
            k=asked.k,
            kinds=asked.kinds,
            session_id=asked.session_id,
            user_id=asked.user_id,
            trace_id=asked.trace_id,
            hidden=off.examples,
            place=asked.place,
        )
        settings = self._settings
        if asked.min_similarity is not None:
            settings = settings.model_copy(update={"min_similarity": asked.min_similarity})
        found = find_alike(state.published, state.tail, wish, settings, now())
        shown = [(one, quoted(one)) for one in found]
        # Again, for the phrases that are known now may not have been when the index was made.
        shown = [(one, said) for one, said in shown if not injected_instruction(said.line)]
        return Served(
            tuple(one for one, _ in shown), tuple(said for _, said in shown), state.version
        )

    def _is_forgotten(self, whom: ServedFor) -> bool:
        """Whether nothing may be noted of them; they are served like anybody."""
        known = self._stores.tombstones
        return known is not None and known.are_of(
            whom.app, whom.user_id, whom.trace_id, whom.session_id
        )

    def warm_up(self) -> None:
        """Load what the first call would load, and start to follow the ledger.

        What cannot be loaded is logged: the first call says it again, to who asks.
        """
        try:
            self._present()
            self._embedder.encode(["warm up"])
        except FlywheelError as error:
            logger.error("nothing is served yet: %s", error)

    def serving(self) -> Serving:
        """What was done and what is held, without loading anything."""
        state, counts = self._state, self._counts
        return Serving(
            counts.requests,
            counts.examples,
            counts.empty,
            len(state.published.index) if state and state.published else 0,
            len(state.tail.rows) if state else 0,
            len(self.log),
            self.log.lost,
            state.version if state else "",
        )

    def close(self) -> None:
        """End the threads, and write what was served."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._over.set()
            self._poke.set()
            thread.join()
            self._over.clear()
        self.log.close()

    @cached_property
    def _loaded(self) -> Models:
        return self._models()

    @property
    def _embedder(self) -> TextEncoder:
        return self._loaded[0]

    def _present(self) -> tuple[_State, SwitchedOff]:
        """What may be served from now: what is known to be gone is taken out."""
        state = self._state or self.refresh()
        with self._stores.ledger.read() as connection:
            news = news_since(connection, state.tail.newest)
            off = switched_off(connection)
            n_forgotten = connection.scalar(_FORGOTTEN)
        before = state
        if n_forgotten != state.n_forgotten:
            # Somebody is to be found nowhere: nothing that was read before may be served.
            state = self.refresh()
        elif news.traces and len(news.traces) <= FEW:
            state = self.refresh(WAIT_S)
        if state is not before:
            # Of another generation it may speak of less than the one before.
            with self._stores.ledger.read() as connection:
                news = news_since(connection, state.tail.newest)
        if news.newest > state.tail.newest:
            self._poke.set()
            state = replace(state, tail=without(state.tail, news.traces))
        return state, off

    def refresh(self, timeout: float = -1) -> _State:
        """Read what is new; what is there already where another thread takes more than `timeout`.

        Raises BadArtifact where no generation can be read.
        """
        if not self._following.acquire(timeout=timeout):
            assert self._state is not None
            return self._state
        try:
            self._state = state = self._published(self._state)
            news = self._news(state.tail)
            if news.newest > state.tail.newest or news.arrived:
                tail = extend_tail(state.tail, news, self._stores, *self._loaded)
                self._state = state = replace(state, tail=tail)
                # There may be more.
                self._poke.set()
        finally:
            self._following.release()
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=self._keep_following, name="examples", daemon=True)
            self._thread.start()
        return state

    def _news(self, tail: Tail) -> News:
        with self._stores.ledger.read() as connection:
            return news_since(connection, tail.newest, tail.missing, MANY)

    def _published(self, state: _State | None) -> _State:
        """The state, or one of what was published since, with a tail of which nothing is read."""
        mark = self._mark()
        with self._stores.ledger.read() as connection:
            n_forgotten = int(connection.scalar(_FORGOTTEN) or 0)
        if state is not None and (mark, n_forgotten) == (state.mark, state.n_forgotten):
            return state
        version = mark[0]
        if state and state.holds(version) and state.n_forgotten == n_forgotten:
            held = read_manifest(self._stores, str(version), "application").held
            return replace(state, tail=tail_after(held), mark=mark)
        index = read_current(self._stores, self._embedder.threads, "application")
        if index is None:
            return _State(None, tail_after(Held()), mark, n_forgotten)
        tail = tail_after(index.manifest.held)
        if index.manifest.embedder != self._embedder.version:
            logger.error("the index of examples is of another embedder; update it to serve it")
            return _State(None, tail, mark, n_forgotten)
        return _State(Published(index, self._embedder.threads), tail, mark, n_forgotten)

    def _mark(self) -> tuple[str | None, int]:
        """What is published, and when something was last noted of it."""
        version = current_version(self._stores, "application")
        if version is None:
            return None, 0
        manifest = folder_of(self._stores, "application") / version / MANIFEST
        return version, manifest.stat().st_mtime_ns if manifest.exists() else 0

    def _keep_following(self) -> None:
        while not self._over.is_set():
            self._poke.wait(LOOK_S)
            self._poke.clear()
            try:
                self.refresh()
            except (FlywheelError, sa.exc.SQLAlchemyError, OSError) as error:
                logger.error("examples stay as they were: %s", str(error).splitlines()[0])

    def _count(self, served: Served) -> Served:
        with self._counting:
            self._counts.requests += 1
            self._counts.examples += len(served.found)
            self._counts.empty += not served.found
        return served
