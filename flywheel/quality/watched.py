"""What is watched beside the rates: which tier judged at what price, and what has drifted.

Warehouse rows in, figures without a chart out.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from flywheel.quality.figures import Figure, Row, name_of, price
from flywheel.store import Stores
from flywheel.store.warehouse import Connection

# Of traces, up to the newest that was judged.
N_DAYS = 28


def watched_figures(stores: Stores) -> list[Figure]:
    """The tiers of the last days with their price, and the tests of drift."""
    with stores.warehouse.read() as connection:
        newest = connection.table("quality/newest_judged_day")[0][0].as_py()
        if newest is None:
            return []
        first = newest - timedelta(days=N_DAYS - 1)
        return [_tiers(_rows(connection, "tiers_of_days", first)), _drift(connection, first)]


def _rows(connection: Connection, name: str, first: object) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.table(f"quality/{name}", first=first).to_pylist()
    return rows


def _tiers(rows: Sequence[dict[str, Any]]) -> Figure:
    judged = max((row["n_read"] for row in rows), default=0)
    total = sum(row["cost_usd"] for row in rows)
    by_itself = sum(row["n_decided"] for row in rows)
    cells = [
        [
            row["tier"],
            f"{row['n_read']:,}",
            f"{row['n_decided']:,}",
            f"{row['n_failed']:,}",
            price(row["cost_usd"]),
            price(1000 * row["cost_usd"] / row["n_read"]) if row["n_read"] else "-",
        ]
        for row in rows
    ]
    decided = (
        f"On {by_itself / judged:.0%} of them a tier has the last word, past its certified "
        "threshold."
        if judged and by_itself
        else "No tier has a certified threshold yet; a retraining fits them once labels are enough."
    )
    return Figure(
        "tiers",
        "Who judged, and at what price",
        f"{judged:,} conversations of the last {N_DAYS} days were judged for {price(total)} "
        f"USD, {price(1000 * total / max(1, judged))} a thousand. {decided}",
        ["Tier", "Read", "Last word", "Failed", "USD", "USD per 1,000 read"],
        [Row(line) for line in cells],
        [],
    )


def _drift(connection: Connection, first: object) -> Figure:
    rows = _rows(connection, "drift_of_days", first)
    drifted = [row for row in rows if row["has_drifted"]]
    if not rows:
        said = (
            "No day could be compared with those before it: 30 sessions of a day and 60 of the "
            "days before are needed."
        )
    elif not drifted:
        said = f"{len(rows)} tests found no day unlike those before it, up to {rows[0]['day']}."
    else:
        last = drifted[0]
        said = (
            f"{last['subject'].capitalize()} of {_app(last['app'])} on {last['day']} are unlike "
            "those of the days before."
        )
    columns = ["Day", "App", "Of", "Drifted", "Stability index", "p", "Level", "Traces", "Before"]
    cells = [
        [
            row["day"].isoformat(),
            _app(row["app"]),
            row["subject"],
            "yes" if row["has_drifted"] else "no",
            "-" if row["psi"] is None else f"{row['psi']:.3f}",
            f"{row['p_value']:.4f}",
            f"{row['alpha']:.4f}",
            f"{row['n']:,}",
            f"{row['n_reference']:,}",
        ]
        for row in rows
    ]
    title = "Drift: days unlike those before them"
    return Figure("drift", title, said, columns, [Row(line) for line in cells], [])


def _app(app: str) -> str:
    return "all applications" if app == "*" else name_of(app)
