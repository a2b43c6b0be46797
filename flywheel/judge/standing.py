"""What a project's generative judges have spent, and where they may decide, for the doctor.

Rows of the ledger in, sentences out. The one idea is that nothing is loaded for it: what was
measured names the judges that it was measured behind.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Literal

import sqlalchemy as sa

from flywheel.models.engine import precision_here, version_in
from flywheel.models.spending import spent_on
from flywheel.records import JUDGE_TARGET
from flywheel.settings import Settings
from flywheel.store.ledger import now
from flywheel.store.tables import aliases, judge_calibrations

# Name, state, sentence, remedy: a finding of the doctor, whose words stand further right.
Found = tuple[str, Literal["ok", "warning", "problem"], str, str]


def judges_standing(connection: sa.Connection, settings: Settings) -> Iterator[Found]:
    """What each endpoint with a price spent today, and behind whom `judge.generative` decides."""
    for name, judge in settings.judges.items():
        spent = spent_on(connection, name, now().date())
        is_paid = judge.usd_per_million_prompt_tokens or judge.usd_per_million_completion_tokens
        if judge.kind != "endpoint" or not is_paid:
            continue
        sentence = f"{name}: {spent.usd:.2f} of {judge.daily_usd:.2f} USD in {spent.calls} calls"
        if spent.usd < judge.daily_usd:
            yield "spent today", "ok", sentence, ""
        else:
            remedy = "wait for the next UTC day, or raise daily_usd"
            yield "spent today", "warning", sentence, remedy
    if settings.judge.generative:
        yield _certified(connection, settings)


def _certified(connection: sa.Connection, settings: Settings) -> Found:
    """A judge whose certificate holds behind some champions and not behind others is a warning."""
    name = settings.judge.generative
    behind = _champions(connection, settings)
    sure = _certified_behind(connection, name)
    silent = [target for target, version in behind.items() if version not in sure]
    if not sure:
        sentence = f"{name} decides nothing by itself: nothing is certified"
        return "certified", "ok", sentence, ""
    if not silent:
        sentence = f"{name} has certified thresholds behind {', '.join(behind) or 'no champion'}"
        return "certified", "ok", sentence, ""
    sentence = f"{name} has no certified threshold behind the champion of {', '.join(silent)}"
    commands = (f"`flywheel judge calibrate {name} --target {target}`" for target in silent)
    return "certified", "warning", f"{sentence}, and decides nothing there", "; ".join(commands)


def _champions(connection: sa.Connection, settings: Settings) -> Mapping[str, str]:
    """The version that reads traces, by the target whose champion it is."""
    names = [JUDGE_TARGET, *(n for n, each in settings.targets.items() if each.kind == "judge")]
    rows = connection.execute(
        sa.select(aliases.c.target, aliases.c.version)
        .where(aliases.c.alias == "champion", aliases.c.target.in_(names))
        .order_by(aliases.c.target)
    )
    precision = precision_here(settings.compute.precision)
    return {row.target: version_in(row.version, precision) for row in rows}


def _certified_behind(connection: sa.Connection, name: str) -> set[str]:
    """The fitted judges behind which the newest calibration of a generative one certifies any."""
    rows = connection.scalars(
        sa.select(judge_calibrations.c.body).order_by(judge_calibrations.c.calibration_id)
    )
    newest: dict[str, bool] = {}
    for body in map(json.loads, rows):
        if body["about"].get("judge") == name:
            newest[str(body["about"].get("after", ""))] = body["thresholds"] is not None
    return {after for after, is_certified in newest.items() if is_certified}
