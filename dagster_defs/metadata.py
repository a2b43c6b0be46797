"""Reports as metadata: facts that a person can check in the UI, tables and pictures.

The library's records in, what Dagster shows out; and what an earlier step has stored, by its name.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date
from typing import Any

import dagster as dg

from flywheel.errors import BadInput, NotEnough, NotFound
from flywheel.gate import GateItem, picture
from flywheel.judge.verdicts import draw_probabilities
from flywheel.metrics import Metric
from flywheel.quality import QualityReport
from flywheel.records import Interval, PartitionReport
from flywheel.store import Stores
from flywheel.training.challenger import Challenger
from flywheel.training.dataset import TrainingSet

# More of a list than this is no fact to read at a glance.
_LISTED = 20


def facts(report: Any) -> dict[str, Any]:  # noqa: ANN401
    """The fields of a report that say something; the entries of a dictionary each by its name."""
    found: dict[str, Any] = {}
    for field in fields(report):
        value = getattr(report, field.name)
        if isinstance(value, Mapping):
            found |= {f"{field.name}: {name}": inner for name, inner in value.items()}
        elif isinstance(value, tuple | list):
            found |= {field.name: " ".join(map(str, value[:_LISTED]))} if value else {}
        elif isinstance(value, Interval):
            found[field.name] = _shown(value)
        elif value not in (None, "") and not isinstance(value, date):
            found[field.name] = value
    return found


def table(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> dg.MetadataValue:
    """Rows as a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return dg.MetadataValue.md(
        "\n".join(f"| {' | '.join(_shown(value) for value in line)} |" for line in lines)
    )


def by_metric(metrics: Iterable[Metric], reports: Iterable[PartitionReport]) -> dg.MetadataValue:
    """What each metric scored and left out, and why."""
    columns = ("metric", "attempted", "scored", "skipped", "failed")
    rows = [
        (m.name, r.attempted, r.done, _reasons(r.skipped), _reasons(r.failed))
        for m, r in zip(metrics, reports, strict=True)
    ]
    return table(columns, rows)


def quality_tables(report: QualityReport) -> dict[str, Any]:
    """The estimated rates, and the card of the judge where people have labelled enough."""
    columns = ("app", "method", "traces", "labels", "rate", "low", "high", "why not")
    rates = [
        (e.app, e.method, e.n_traces, e.n_labels, e.estimate, e.low, e.high, e.why)
        for e in report.estimates
    ]
    card = report.agreement.rates.items() if report.agreement else []
    return {
        "estimates stored": report.written,
        "rates": table(columns, rates),
        "judge against people": table(("rate", "estimate"), card),
    }


def histogram(stores: Stores, day: date) -> dict[str, dg.MetadataValue]:
    """How the day's probabilities are spread; nothing where it has none."""
    try:
        return {"probabilities": _image(draw_probabilities(stores, day))}
    except NotEnough:
        return {}


def set_facts(taken: TrainingSet) -> dict[str, Any]:
    """The name of a training set, and how many labels each of its parts has."""
    return {
        "name": taken.name,
        "labels": taken.n_labels,
        "perceived errors": taken.n_positives,
        "decisions considered": len(taken.considered),
    } | {f"labels: {part}": len(rows) for part, rows in taken.rows.items()}


def fit_facts(made: Challenger) -> dict[str, Any]:
    """The version of a fitted judge, and how each of its tiers was fitted."""
    fit: Any = made.manifest["fit"]
    columns = ("tier", "ROC AUC, cross-validated", "C", "pooling", "CPU seconds")
    rows = [
        (tier, of["cv_auc"], of["c"], of["pooling"], of["cpu_s"])
        for tier, of in fit["tiers"].items()
    ]
    return {
        "version": made.version,
        "training set": str(made.manifest["training_set"]),
        "labels": fit["n"],
        "perceived errors": fit["positives"],
        "best tier": fit["best"],
        "why": fit["why"],
        "tiers": table(columns, rows),
    }


def precision_recall(items: Sequence[GateItem]) -> dict[str, dg.MetadataValue]:
    """Precision against recall of both judges; why there is no curve where there is none."""
    try:
        return {"precision and recall": _image(picture(items))}
    except BadInput as reason:
        return {"precision and recall": dg.MetadataValue.text(str(reason))}


def stored_by(context: dg.AssetExecutionContext, asset: str, name: str) -> str:
    """What `asset` stored under this name when it was last materialised.

    Raises NotFound where it never was.
    """
    event = context.instance.get_latest_materialization_event(dg.AssetKey(asset))
    made = event.asset_materialization if event else None
    if made is None:
        raise NotFound("materialisation of", asset)
    return str(made.metadata[name].value)


def _shown(value: object) -> str:
    """A value as a table shows it: a share to three places, an estimate with its interval."""
    if isinstance(value, Interval):
        return f"{value.estimate:.3f} [{value.low:.3f}, {value.high:.3f}]"
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {why}" for why, n in counts.items())


def _image(png: bytes) -> dg.MetadataValue:
    """A picture that stands in the event itself, and so lives as long as the event."""
    encoded = base64.b64encode(png).decode()
    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{encoded})")
