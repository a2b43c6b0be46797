"""Arms given to sessions, and who was given which: what an application asks while it works.

A session or a user in, an arm out, and a row of `exposures` the first time. The one idea is that
only who could notice a difference counts: a session is exposed when it is given an arm, and of an
experiment of few-shots only when another arm would have been served other examples.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from time import monotonic

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from flywheel.errors import Refused
from flywheel.experiments.experiment import (
    Experiment,
    ExperimentArm,
    FewShotPolicy,
    unit_key,
)
from flywheel.experiments.running import get_experiment, list_experiments
from flywheel.retrieval.served import ServedFor, ServedLog, ServedRow
from flywheel.retrieval.serving import Asked, ExampleService, Served
from flywheel.store import Stores
from flywheel.store.tables import exposures

# How long a stopped experiment may go on in a process that has not heard of it.
KEPT_S = 1.0
# Sessions of which is known that they were noted.
MOST_KNOWN = 100_000


@dataclass(frozen=True, slots=True)
class Given:
    """The arm that a session is given; `why` says why it does not count, where it does not."""

    experiment: Experiment
    arm: ExperimentArm
    is_counted: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Whom:
    """Who is given an arm: a session of an application, or a user where no session is known."""

    app: str
    session_id: str | None = None
    user_id: str | None = None


class ArmService:
    """Arms for applications; exposures are written by a thread, a quarter of a second later."""

    def __init__(self, stores: Stores):
        self._stores = stores
        self.log = ServedLog(stores.ledger, _write_exposures, "first_at")
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = Lock()
        self._running: tuple[float, list[Experiment]] = (-KEPT_S, [])

    def give(self, name: str, whom: Whom) -> Given:
        """The arm of this experiment, which counts from now on.

        Raises NotFound where there is no such experiment, BadInput where neither a session nor a
        user is named, Refused where both of its arms read the same traces.
        """
        found = next((one for one in self.running() if one.name == name), None)
        found = found or get_experiment(self._stores.ledger, name)
        if found.is_paired:
            raise Refused(f"in {name!r} both judges read the same traces; nobody is given either")
        arm = found.arm_of(whom.session_id, whom.user_id)
        first, why = found.arms[0], ""
        if not found.is_running:
            arm, why = first, "the experiment is over"
        elif found.app and found.app != whom.app:
            arm, why = first, f"the experiment is of the application {found.app}"
        elif not self._note(found, arm, whom):
            why = "who was forgotten is noted nowhere"
        return Given(found, arm, not why, why)

    def examples(
        self, service: ExampleService, asked: Asked, served_for: ServedFor
    ) -> tuple[Served, Given | None]:
        """What a request is served, by its arm where its examples are in an experiment.

        Every arm's examples are looked up, so that only sessions count that another arm would have
        served others, alike in all arms; a session that counts is not looked up again.
        """
        whom = Whom(asked.app, asked.session_id, asked.user_id)
        found = self._of_few_shots(whom)
        if found is None:
            return service.ask(asked, served_for), None
        arm = found.arm_of(whom.session_id, whom.user_id)
        own = _by_policy(asked, arm.policy)
        others = [] if self._is_known(found, whom) else _other_ways(found, asked, own)
        served, *instead = service.look([own, *others])
        is_counted = self._is_known(found, whom)
        if not is_counted and any(_ids(one) != _ids(served) for one in instead):
            is_counted = self._note(found, arm, whom)
        why = "" if is_counted else "each arm would serve the same examples"
        return service.note(served, served_for), Given(found, arm, is_counted, why)

    def running(self) -> list[Experiment]:
        """The experiments that run, as they were at most a second ago."""
        read_at, found = self._running
        if monotonic() - read_at > KEPT_S:
            found = list_experiments(self._stores.ledger, is_running=True)
            self._running = (monotonic(), found)
        return found

    def close(self) -> None:
        """Write what is left, and end the thread."""
        self.log.close()

    def _of_few_shots(self, whom: Whom) -> Experiment | None:
        """The experiment that an application's examples are in; None where nobody is named."""
        if not whom.session_id and not whom.user_id:
            return None
        for one in self.running():
            if one.kind == "few-shots" and one.app in ("", whom.app):
                return one
        return None

    def _is_known(self, experiment: Experiment, whom: Whom) -> bool:
        with self._lock:
            return (experiment.name, unit_key(whom.session_id, whom.user_id)) in self._known

    def _note(self, experiment: Experiment, arm: ExperimentArm, whom: Whom) -> bool:
        """Have it stand in the ledger that this arm was given; False of who was forgotten."""
        tombstones = self._stores.tombstones
        if tombstones is not None and tombstones.are_of(
            whom.app, whom.user_id, None, whom.session_id
        ):
            return False
        key = (experiment.name, unit_key(whom.session_id, whom.user_id))
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return True
            self._known[key] = None
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        row = {"experiment": key[0], "unit": key[1], "arm": arm.name}
        ids = {"session_id": whom.session_id or None, "user_id": whom.user_id or None}
        self.log.add([{**row, **ids}])
        return True


def _by_policy(asked: Asked, policy: FewShotPolicy) -> Asked:
    """The request as an arm answers it."""
    kinds = asked.kinds & frozenset(policy.kinds)
    k = asked.k if policy.k is None else policy.k
    return replace(asked, k=k, kinds=kinds, min_similarity=policy.min_similarity)


def _other_ways(experiment: Experiment, asked: Asked, own: Asked) -> list[Asked]:
    """How the other arms would answer, each once."""
    ways = (_by_policy(asked, arm.policy) for arm in experiment.arms)
    return [way for way in dict.fromkeys(ways) if way != own]


def _ids(served: Served) -> Sequence[str]:
    return [found.row["correction_id"] for found in served.found]


def _write_exposures(connection: sa.Connection, rows: list[ServedRow]) -> None:
    is_postgres = connection.dialect.name == "postgresql"
    insert = (postgresql if is_postgres else sqlite).insert(exposures)
    connection.execute(insert.on_conflict_do_nothing(), rows)
