"""Messages of alerts to wherever the project says: a webhook, Slack, or any other of Apprise's.

Rules with the names of environment variables in, messages out; the one idea is that an alert is in
the ledger before it is sent, and is sent again at the next look until somebody has taken it.
"""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from flywheel.quality.alerts import Alert, check_alerts, note_alerts
from flywheel.settings import AlertRule
from flywheel.store import Stores
from flywheel.store.tables import alerts_fired

if TYPE_CHECKING:
    import apprise

# What Apprise calls a plain webhook, to which it posts JSON.
_WEBHOOKS = {"http": "json", "https": "jsons"}


@dataclass(frozen=True, slots=True)
class AlertReport:
    """What the rules found: `fired` for the first time, `delivered` now, `undelivered` and why."""

    fired: list[Alert]
    delivered: int
    undelivered: dict[str, str]


def announce(stores: Stores, rules: Mapping[str, AlertRule], at: datetime) -> AlertReport:
    """Look at all rules, keep what is new, and send what nobody was told of yet."""
    fired = note_alerts(stores, check_alerts(stores, rules, at), at)
    delivered, undelivered = 0, {}
    for row in _untold(stores, rules):
        why = _send(rules[row.rule], row.rule, row.why)
        if why:
            undelivered[row.rule] = why
            continue
        delivered += 1
        with stores.ledger.begin() as ledger:
            ledger.execute(
                alerts_fired.update()
                .where(alerts_fired.c.alert_id == row.alert_id)
                .values(delivered_at=at)
            )
    return AlertReport(fired, delivered, undelivered)


def rules_of_moves(rules: Mapping[str, AlertRule]) -> dict[str, AlertRule]:
    """Those about champions and the gate, which are told at once and read the ledger alone."""
    return {name: rule for name, rule in rules.items() if rule.when in ("champion", "gate")}


def rules_of_modes(rules: Mapping[str, AlertRule]) -> dict[str, AlertRule]:
    """Those about failure modes and the week's digest, which are told when they are made."""
    return {name: rule for name, rule in rules.items() if rule.when in ("failure_mode", "digest")}


def _untold(stores: Stores, rules: Mapping[str, AlertRule]) -> list["sa.Row[tuple[object, ...]]"]:
    addressed = [name for name, rule in rules.items() if rule.url_env]
    with stores.ledger.read() as ledger:
        return list(
            ledger.execute(
                sa.select(alerts_fired)
                .where(alerts_fired.c.delivered_at.is_(None), alerts_fired.c.rule.in_(addressed))
                .order_by(alerts_fired.c.alert_id)
            ).all()
        )


def _send(rule: AlertRule, name: str, why: str) -> str:
    """Send one message; why it did not arrive, or nothing."""
    address = os.environ.get(rule.url_env, "")
    if not address:
        return f"the environment variable {rule.url_env} is not set"
    try:
        told = _addressed(address)
    except ImportError:
        return "nothing to send with is installed; `pip install flywheel-loop[alerts]`"
    if told is None:
        return f"{rule.url_env} holds no address that Apprise knows"
    return "" if told.notify(title=f"Flywheel: {name}", body=why) else "it did not answer with yes"


def _addressed(address: str) -> "apprise.Apprise | None":
    """What sends to the address; None where it is none."""
    with warnings.catch_warnings():
        # It asks for a module of the standard library that later Pythons lack, and does without.
        warnings.simplefilter("ignore", DeprecationWarning)
        import apprise

        told = apprise.Apprise()
        # Addresses that Apprise knows, such as Slack's, are of services; others are webhooks.
        return told if told.add(address) or told.add(_webhook(address)) else None


def _webhook(address: str) -> str:
    scheme, _, rest = address.partition("://")
    return f"{_WEBHOOKS.get(scheme, scheme)}://{rest}"
