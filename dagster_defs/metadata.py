"""Reports as metadata: facts that a person can check in the UI, tables and pictures.

The library's records in, what Dagster shows out; and what an earlier step has stored, by its name.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Any

import dagster as dg

from flywheel.errors import BadInput, NotEnough, NotFound
from flywheel.forgetting import Receipt
from flywheel.gate import GateItem, GateVerdict, picture
from flywheel.judge.verdicts import draw_probabilities
from flywheel.metrics import Metric
from flywheel.quality import QualityReport
from flywheel.quality.drift import DriftReport
from flywheel.quality.publishing import published_quality
from flywheel.quality.svg import as_png
from flywheel.records import JUDGE_TARGET, Interval, PartitionReport
from flywheel.retraining import AnySet
from flywheel.store import Stores
from flywheel.traces.importing import ImportReport
from flywheel.training.challenger import Challenger
from flywheel.training.examples.snapshot import ExampleSet

# More of a list than this is no fact to read at a glance.
_LISTED = 20


def facts(report: Any) -> dict[str, Any]:  # noqa: ANN401
    """The fields of a report that say something; what is inside of one, by name."""
    found: dict[str, Any] = {}
    for field in fields(report):
        value = getattr(report, field.name)
        if isinstance(value, Mapping):
            found |= {f"{field.name}: {name}": inner for name, inner in value.items()}
        elif isinstance(value, tuple | list) and value and is_dataclass(value[0]):
            found[field.name] = _listed(value)
        elif isinstance(value, tuple | list):
            found |= {field.name: " ".join(map(str, value[:_LISTED]))} if value else {}
        elif isinstance(value, Interval):
            found[field.name] = _shown(value)
        elif is_dataclass(value):
            found |= {f"{field.name}: {name}": inner for name, inner in facts(value).items()}
        elif value not in (None, "") and not isinstance(value, date):
            found[field.name] = value
    return found


def _listed(reports: Sequence[Any]) -> dg.MetadataValue:
    """Reports of one kind, a row each, as the suites and slices of a verdict are."""
    names = [field.name for field in fields(reports[0])]
    return table(names, ([getattr(report, name) for name in names] for report in reports))


def loaded_facts(imports: Iterable[ImportReport]) -> dict[str, int]:
    """What became of all imports that were loaded together."""
    reports = list(imports)
    return {
        "new traces": sum(report.new for report in reports),
        "changed traces": sum(report.changed for report in reports),
        "rejected lines": sum(len(report.rejected) for report in reports),
    }


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
        (m.name, r.attempted, r.done, reasons(r.skipped), reasons(r.failed))
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


def quality_pictures(stores: Stores) -> dict[str, dg.MetadataValue]:
    """What the quality page draws, by the titles of its charts."""
    published = published_quality(stores)
    figures = published.figures if published else []
    return {figure.title: _image(as_png(figure.wide)) for figure in figures if figure.wide}


def drift_table(report: DriftReport | None) -> dict[str, dg.MetadataValue]:
    """The tests of the newest day, or why there are none."""
    if report is None:
        return {}
    columns = ("app", "of", "traces", "before", "stability index", "p", "level", "drifted")
    rows = [
        (t.app, t.subject, t.n, t.n_reference, t.psi, t.p_value, t.alpha, t.has_drifted)
        for t in report.tests
    ]
    why = {f"no test of {subject}": dg.MetadataValue.text(w) for subject, w in report.why.items()}
    return {f"drift on {report.day}": table(columns, rows)} | why


def histogram(stores: Stores, day: date) -> dict[str, dg.MetadataValue]:
    """How the day's probabilities are spread; nothing where it has none."""
    try:
        return {"probabilities": _image(draw_probabilities(stores, day))}
    except NotEnough:
        return {}


def receipt_facts(receipt: Receipt | None, before: str = "") -> dict[str, Any]:
    """What a forgetting took, by where it was; the zero that says that it looked."""
    removed = dict(receipt.removed) if receipt else {}
    total = {f"{before}removed": sum(removed.values())}
    return total | {f"{before}{name}": n for name, n in removed.items()}


def of_targets(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Facts by target: those of the judge of all by their own names, others behind the target's."""
    return {
        fact if target == JUDGE_TARGET else f"{target}: {fact}": value
        for target, shown in found.items()
        for fact, value in shown.items()
    }


def named_sets(taken: Mapping[str, AnySet]) -> dict[str, Any]:
    """The artifact of each target's training set, as `sets_named` reads it in a later step."""
    return {"sets": json.dumps({name: one.name for name, one in taken.items()})}


def sets_named(context: dg.AssetExecutionContext) -> dict[str, str]:
    """By target, the artifact of the training set that was frozen last."""
    found: dict[str, str] = json.loads(stored_by(context, "training_set", "sets"))
    return found


def sets_of_run(context: dg.AssetExecutionContext) -> dict[str, str]:
    """The same, where the run itself froze them; nothing where it froze none."""
    event = context.instance.get_latest_materialization_event(dg.AssetKey("training_set"))
    is_own = event is not None and event.run_id == context.run.run_id
    return sets_named(context) if is_own else {}


def set_facts(taken: AnySet) -> dict[str, Any]:
    """The name of a training set, how much each of its parts has, and what was left out."""
    left_out = {f"left out: {why}": n for why, n in taken.left_out.items()}
    if isinstance(taken, ExampleSet):
        return {
            "name": taken.name,
            "examples": len(taken.examples),
            "good ones": sum(example.is_good for example in taken.examples),
            "for validation": len(taken.validation),
            "decisions considered": len(taken.considered),
        } | left_out
    return (
        {
            "name": taken.name,
            "labels": taken.n_labels,
            "perceived errors": taken.n_positives,
            "decisions considered": len(taken.considered),
        }
        | {f"labels: {part}": len(rows) for part, rows in taken.rows.items()}
        | left_out
    )


def fit_facts(made: Challenger | str) -> dict[str, Any]:
    """The version of a challenger, and how it was fitted; or why there is none."""
    if isinstance(made, str):
        return {"not trained": made}
    fit: Any = made.manifest["fit"]
    if "tiers" not in fit:
        return _adapter_facts(made, fit)
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


def _adapter_facts(made: Challenger, fit: Mapping[str, Any]) -> dict[str, Any]:
    tried = [(each["rate"], each["steps"], each["loss"]) for each in fit["tried"]]
    return {
        "version": made.version,
        "training set": str(made.manifest["training_set"]),
        "arm": fit["arm"],
        "rank": f"{fit['rank']}, {fit['rank_by']}",
        "examples": fit["n_examples"],
        "loss before": fit["base_loss"],
        "loss after": fit["loss"],
        "why it ended": fit["ending"],
        "learning rates": table(("rate", "steps", "loss"), tried),
    }


def verdict_facts(said: tuple[GateVerdict, Sequence[GateItem]] | str) -> dict[str, Any]:
    """What the gate said and why, with a picture of both sides; or why it said nothing."""
    if isinstance(said, str):
        return {"no verdict": said}
    verdict, items = said
    return facts(verdict) | precision_recall(items)


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


def reasons(counts: Mapping[str, int]) -> str:
    """Counts by their reason, in one line."""
    return ", ".join(f"{n} {why}" for why, n in counts.items())


def _image(png: bytes) -> dg.MetadataValue:
    """A picture that stands in the event itself, and so lives as long as the event."""
    encoded = base64.b64encode(png).decode()
    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{encoded})")
