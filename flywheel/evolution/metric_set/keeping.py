"""Approved metrics as files of the project.

A proposal in, `metrics/NAME.sql` or `.toml` or `.md` written or removed; a new text is a new
version of the metric, so that series stay comparable by version.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from flywheel.errors import BadInput, BadMetric
from flywheel.evolution.kept_files import check_kept, write_kept
from flywheel.evolution.proposals import Proposal
from flywheel.in_use import rubrics_of
from flywheel.metrics import Metric, read_metrics
from flywheel.metrics.files import read_metric
from flywheel.metrics.rubric_files import read_rubric
from flywheel.store import Project

FORMS = (".sql", ".toml", ".md")


class MetricKeeper:
    """A metric's file; the proposal's subject is the name of the file."""

    def check(self, project: Project, proposal: Proposal, text: str | None) -> None:
        """Raise BadMetric where the text is no metric, Refused where the file has changed."""
        path = metric_path(project, proposal.draft.subject)
        check_kept(path, proposal.draft.before, text)
        if text is not None:
            check_name(project, metric_in(path.name, text))

    def apply(self, project: Project, proposal: Proposal, text: str | None) -> None:
        """Write or remove the file."""
        path = metric_path(project, proposal.draft.subject)
        check_kept(path, proposal.draft.before, text)
        write_kept(path, text)

    def undo(self, project: Project, proposal: Proposal) -> None:
        """Put the file back as it was."""
        path = metric_path(project, proposal.draft.subject)
        check_kept(path, proposal.text, proposal.draft.before)
        write_kept(path, proposal.draft.before)


def metric_path(project: Project, file: str) -> Path:
    """Where a metric's file of the project stands; raises BadInput on what is no such name."""
    name = Path(file)
    if name.name != file or name.suffix not in FORMS or not name.stem.isidentifier():
        raise BadInput(f"{file!r} is no file of a metric; write NAME{FORMS[0]}, .toml or .md")
    return project.metrics_dir / file


def metric_in(file: str, text: str) -> Metric:
    """The metric that the text would be in this file; raises BadMetric where it is none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file
        path.write_text(text, encoding="utf-8")
        try:
            found = read_rubric(path) if path.suffix == ".md" else read_metric(path)
        except BadMetric as error:
            # Under the name that it would have.
            raise BadMetric(file, error.why) from error
    return replace(found, file=file)


def metrics_of(project: Project) -> list[Metric]:
    """Every metric that can be read: bundled, the project's own, and its rubrics."""
    return [*read_metrics(project.metrics_dir)[0], *rubrics_of(project)[0]]


def check_name(project: Project, metric: Metric) -> None:
    """Raise BadMetric where another file has the metric's name: one of them would be left out."""
    for other in metrics_of(project):
        if other.name == metric.name and Path(other.file).name != metric.file:
            raise BadMetric(metric.file, f"{other.file} has the name {metric.name!r} already")
