"""History under a metric that a person approved: every day again, beside what was said before.

An approved proposal in, scores of its metric's version on every day out. The one idea is that a
version adds rows and takes none away, so that a series stays comparable by version.
"""

from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from flywheel.errors import Refused
from flywheel.evolution.metric_set.keeping import metric_path, metrics_of
from flywheel.evolution.proposals import Proposal, find_proposal
from flywheel.in_use import generative_of, levers_of
from flywheel.judge.rubric_metrics import score_day_by_rubrics
from flywheel.judge.scoring import Progress, no_progress
from flywheel.metrics import Metric, score_day_by_code
from flywheel.metrics.rubric_files import RubricMetric
from flywheel.records import PartitionReport
from flywheel.store import Project
from flywheel.store.ledger import Ledger, now, record_action
from flywheel.store.tables import proposals
from flywheel.traces.importing import days_with_traces


@dataclass(slots=True)
class Rescored:
    """What a metric's version said of all days; `failed` and `skipped` by their reason."""

    metric: str
    version: str
    days: int = 0
    attempted: int = 0
    scored: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)


def ask_to_rescore(ledger: Ledger, proposal_id: int, actor: str) -> None:
    """Note that history is to be read again by an approved metric; raises Refused on any other."""
    wanted = find_proposal(ledger, proposal_id)
    check_in_force(wanted)
    with ledger.begin() as connection:
        row = proposals.c.proposal_id == proposal_id
        connection.execute(proposals.update().where(row).values(rescore_asked_at=now()))
        subject = f"metric {wanted.draft.subject}"
        record_action(connection, actor, "rescore_history", subject, proposal=proposal_id)


def asked_to_rescore(ledger: Ledger) -> list[Proposal]:
    """Proposals whose metric was to read history and has not yet, the first asked first."""
    asked, done = proposals.c.rescore_asked_at, proposals.c.rescored_at
    wanted = (
        sa.select(proposals.c.proposal_id)
        .where(asked.is_not(None), sa.or_(done.is_(None), done < asked))
        .where(proposals.c.status == "approved")
        .order_by(asked, proposals.c.proposal_id)
    )
    with ledger.read() as connection:
        numbers = [int(row.proposal_id) for row in connection.execute(wanted)]
    return [find_proposal(ledger, number) for number in numbers]


def rescore_history(
    project: Project, proposal: Proposal, progress: Progress = no_progress
) -> Rescored:
    """Score every day that has traces by the metric as its file is now.

    A rubric reads as many traces of a day as it does at night. Raises Refused where the proposal
    is not in force, or its file is no metric any more.
    """
    check_in_force(proposal)
    started, metric = now(), _metric_of(project, proposal)
    report = Rescored(metric.name, metric.version)
    days = days_with_traces(project.stores)
    for done, day in enumerate(days, 1):
        if isinstance(metric, RubricMetric):
            made: PartitionReport = score_day_by_rubrics(
                project.stores,
                [metric],
                lambda name: generative_of(project, name or None),
                levers_of(project),
                day,
                project.settings.judge.generative_traces,
            )[0]
        else:
            made = score_day_by_code(project.stores, [metric], day)[0]
        _add(report, made)
        progress(done, len(days))
    _note_done(project.stores.ledger, proposal, started)
    return report


def rescore_asked(project: Project) -> list[Rescored]:
    """Carry out what was asked for; where a file is gone, nothing is left to be done.

    Scores are stored day by day, so that a run that was killed is simply run again.
    """
    reports = []
    for one in asked_to_rescore(project.stores.ledger):
        try:
            reports.append(rescore_history(project, one))
        except Refused as error:
            _note_done(project.stores.ledger, one, now())
            reports.append(Rescored(one.draft.subject, "", failed={str(error): 1}))
    return reports


def check_in_force(proposal: Proposal) -> None:
    """Raise Refused where a proposal is none of a metric that was approved and is still a file."""
    draft = proposal.draft
    if draft.kind != "metric" or draft.after is None or proposal.status != "approved":
        raise Refused(
            f"proposal {proposal.proposal_id} put no metric in force; only an approved one "
            "can read history"
        )


def _note_done(ledger: Ledger, proposal: Proposal, started: datetime) -> None:
    with ledger.begin() as connection:
        row = proposals.c.proposal_id == proposal.proposal_id
        connection.execute(proposals.update().where(row).values(rescored_at=started))


def _metric_of(project: Project, proposal: Proposal) -> Metric:
    path = metric_path(project, proposal.draft.subject)
    for metric in metrics_of(project):
        if metric.file == str(path):
            return metric
    raise Refused(f"{path.name} is no metric any more; take the proposal back, or mend the file")


def _add(report: Rescored, made: PartitionReport) -> None:
    report.days += 1
    report.attempted += made.attempted
    report.scored += made.done
    for total, more in ((report.skipped, made.skipped), (report.failed, made.failed)):
        for why, n in more.items():
            total[why] = total.get(why, 0) + n
