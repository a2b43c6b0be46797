"""What proposals of metrics are made of and measured on, as it stood when the model was asked.

A project in; its labels, its metrics and what they say of the labels out. The one idea is that all
of it is read once, so that every proposal of a run is measured on the same frozen labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from flywheel.errors import NotEnough
from flywheel.evolution.kept_files import read_kept
from flywheel.evolution.metric_set.asking import Shown, chosen_rows
from flywheel.evolution.metric_set.backtest import MIN_LABELS
from flywheel.evolution.metric_set.keeping import metrics_of
from flywheel.evolution.metric_set.labelled import Labels, Said, read_labels, read_said
from flywheel.evolution.metric_set.wanted import OwnMetric
from flywheel.evolution.proposals import list_proposals
from flywheel.in_use import levers_of
from flywheel.judge.people import Bools
from flywheel.metrics import Metric
from flywheel.store import Project
from flywheel.traces.conversations import read_traces


@dataclass(frozen=True, slots=True)
class Material:
    """Labels, which of them measure, the metrics, and what each says of all labels by its name."""

    labels: Labels
    is_held: Bools
    metrics: tuple[Metric, ...]
    own: Mapping[str, OwnMetric]
    said: Mapping[str, Said]
    notes: tuple[str, ...]

    @property
    def held(self) -> Labels:
        """The labels that measure."""
        return self.labels.take(self.is_held)

    @property
    def taught(self) -> Labels:
        """The labels that the author of a proposal may learn from."""
        return self.labels.take(~self.is_held)

    def said_of_taught(self) -> dict[str, Said]:
        """What the metrics say of the labels that teach."""
        return {name: said.take(~self.is_held) for name, said in self.said.items()}

    def said_of_held(self) -> dict[str, Said]:
        """What the metrics say of the labels that measure."""
        return {name: said.take(self.is_held) for name, said in self.said.items()}


def read_material(project: Project) -> Material:
    """All that a run of proposals works on.

    Raises NotEnough where fewer than 5 traces with an error and 5 without one are labelled, among
    those that teach or those that measure: nothing could be learnt, or nothing shown.
    """
    labels = read_labels(project.stores)
    is_held = np.array([split == "holdout" for split in labels.splits], bool)
    for part, name in ((labels.take(is_held), "in"), (labels.take(~is_held), "outside")):
        for n, kind in ((part.n_errors, "with"), (len(part) - part.n_errors, "without")):
            if n < MIN_LABELS:
                raise NotEnough(f"labels {kind} an error {name} the holdout", n, MIN_LABELS)
    metrics = metrics_of(project)
    earlier = sum(
        one.draft.change != "remove"
        for one in list_proposals(project.stores.ledger, kind="metric", limit=10_000)
    )
    notes = (
        f"measured on {int(is_held.sum()):,} labels of the holdout as they stood on "
        f"{datetime.now(UTC).date()} (version {labels.take(is_held).version}); its author saw none",
        f"changes of metrics that were measured on the holdout before this one: {earlier:,}; of 40 "
        "that are worth nothing, one seems to tell errors apart by chance",
    )
    return Material(
        labels,
        is_held,
        tuple(metrics),
        _own(project, metrics),
        read_said(project.stores, labels, metrics),
        notes,
    )


def shown_traces(project: Project, material: Material) -> list[Shown]:
    """The labelled conversations that a model reads, as many as `evolution.traces`."""
    taught, said = material.taught, material.said_of_taught()
    rows = chosen_rows(taught, said, project.settings.evolution.traces)
    with project.stores.warehouse.open() as connection:
        ids = [taught.trace_ids[row] for row in rows]
        found = {one.trace_id: one for one in read_traces(connection, ids, levers_of(project))}
    return [
        Shown(
            found[taught.trace_ids[row]],
            bool(taught.people.truth[row]),
            taught.codes[row],
            taught.reasons[row],
            tuple(name for name, one in said.items() if one.is_against[row]),
        )
        for row in rows
        if taught.trace_ids[row] in found
    ]


def _own(project: Project, metrics: list[Metric]) -> dict[str, OwnMetric]:
    found = {}
    for metric in metrics:
        path = Path(metric.file)
        if path.parent == project.metrics_dir:
            # Read already, so that it is there.
            found[metric.name] = OwnMetric(metric, path.name, read_kept(path) or "")
    return found
