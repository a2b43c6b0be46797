"""Experiments begun, listed and ended: rows of the ledger, each change with its audit entry.

Plans in, rows of `experiments` out. The one idea is that a plan is written once: what is compared,
by which shares and at which alpha cannot be changed after the first look, only ended.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from flywheel.errors import NotFound, Refused
from flywheel.experiments.experiment import (
    Experiment,
    ExperimentArm,
    ExperimentKind,
    Plan,
    check_experiment,
)
from flywheel.store.ledger import Ledger, in_utc, now, record_action
from flywheel.store.tables import experiments

_ALL = sa.select(experiments).order_by(experiments.c.started_at.desc(), experiments.c.name)


def start_experiment(
    ledger: Ledger,
    name: str,
    kind: ExperimentKind,
    arms: Sequence[ExperimentArm],
    plan: Plan,
    actor: str,
    app: str = "",
) -> Experiment:
    """Begin: from now on sessions are given arms.

    Raises BadInput where it cannot be run, Refused where the name was used before, or where the
    examples of an application are in an experiment already.
    """
    made = check_experiment(Experiment(name, kind, app, tuple(arms), plan, actor, now()))
    with ledger.begin() as connection:
        if connection.execute(_ALL.where(experiments.c.name == name)).first():
            raise Refused(f"there was an experiment {name!r} already; take another name")
        if kind == "few-shots":
            _refuse_two_policies(connection, app)
        row = {"name": name, "kind": kind, "app": app, "actor": actor}
        row |= {"arms": json.dumps([asdict(arm) for arm in arms]), "plan": json.dumps(asdict(plan))}
        connection.execute(experiments.insert().values(row | {"started_at": made.started_at}))
        detail = {"kind": kind, "app": app, **asdict(plan)}
        detail["arms"] = {arm.name: arm.share for arm in made.arms}
        record_action(connection, actor, "start_experiment", name, **detail)
    return made


def stop_experiment(ledger: Ledger, name: str, actor: str, conclusion: str) -> Experiment:
    """End it, with what came of it: every session is given the first arm from now on.

    Raises NotFound where there is none of this name, Refused where it was ended before.
    """
    with ledger.begin() as connection:
        get_experiment(ledger, name)
        # Of two who stop it at once, the second is refused, and the first one's word stands.
        running = (experiments.c.name == name, experiments.c.stopped_at.is_(None))
        ended = {"stopped_at": now(), "conclusion": conclusion}
        if not connection.execute(experiments.update().where(*running).values(ended)).rowcount:
            raise Refused(f"the experiment {name!r} was stopped already")
        record_action(connection, actor, "stop_experiment", name, conclusion=conclusion)
    return get_experiment(ledger, name)


def get_experiment(ledger: Ledger, name: str) -> Experiment:
    """The experiment of this name; raises NotFound."""
    found = list_experiments(ledger)
    try:
        return next(one for one in found if one.name == name)
    except StopIteration:
        raise NotFound("experiment", name, [one.name for one in found]) from None


def list_experiments(ledger: Ledger, is_running: bool = False) -> list[Experiment]:
    """All of them, or those that run, the last begun first."""
    wanted = _ALL.where(experiments.c.stopped_at.is_(None)) if is_running else _ALL
    with ledger.read() as connection:
        return [_experiment(row) for row in connection.execute(wanted)]


def _refuse_two_policies(connection: sa.Connection, app: str) -> None:
    for row in connection.execute(_ALL.where(experiments.c.stopped_at.is_(None))):
        if row.kind == "few-shots" and (not app or not row.app or row.app == app):
            raise Refused(
                f"the experiment {row.name!r} serves {row.app or 'all applications'} by its arms "
                f"already; stop it first, by `flywheel experiments stop {row.name}`"
            )


def _experiment(row: "sa.Row[tuple[object, ...]]") -> Experiment:
    return Experiment(
        name=row.name,
        kind=row.kind,
        app=row.app,
        arms=tuple(ExperimentArm(**arm) for arm in json.loads(row.arms)),
        plan=Plan(**json.loads(row.plan)),
        actor=row.actor,
        started_at=in_utc(row.started_at),
        stopped_at=None if row.stopped_at is None else in_utc(row.stopped_at),
        conclusion=row.conclusion or "",
    )
