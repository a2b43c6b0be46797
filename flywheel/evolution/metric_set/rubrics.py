"""A proposed rubric on labelled traces: read by the judge that would read it every day.

A rubric and labels in, what it says of them out. What was paid for is kept in the verdict cache, so
that a rubric that is approved pays for none of it again.
"""

import numpy as np

from flywheel.errors import BadMetric
from flywheel.evolution.metric_set.labelled import Labels, Said
from flywheel.evolution.metric_set.material import Material
from flywheel.in_use import generative_of, levers_of
from flywheel.judge.cache import VerdictCache, generative_opinions
from flywheel.judge.judge import Opinion
from flywheel.judge.people import Bools
from flywheel.judge.prompted import Unjudged
from flywheel.judge.rubric_metrics import NO_JUDGE, judge_under
from flywheel.judge.scoring import no_progress
from flywheel.metrics.rubric_files import RubricMetric
from flywheel.queue.overdue import AGAINST
from flywheel.records import unit_hash
from flywheel.store import Project
from flywheel.traces.conversations import read_traces


def rows_for_rubrics(material: Material, most: int) -> Bools:
    """`most` labels of the holdout, by a hash of their trace: the same ones for every rubric."""
    labels, rows = material.labels, np.flatnonzero(material.is_held).tolist()
    chosen = sorted(rows, key=lambda row: unit_hash(labels.trace_ids[row], "rubric"))[:most]
    found = np.zeros(len(labels), bool)
    found[chosen] = True
    return found


def judge_labels(project: Project, metric: RubricMetric, labels: Labels) -> Said:
    """What the rubric says of each labelled trace, in the words of its judge.

    Raises BadMetric where no judge reads it, or where one trace in ten got no answer.
    """
    judge = generative_of(project, metric.judge or None)
    if judge is None:
        raise BadMetric(metric.file, NO_JUDGE)
    with project.stores.warehouse.read() as connection:
        read = read_traces(connection, labels.trace_ids, levers_of(project))
    place = {trace_id: i for i, trace_id in enumerate(labels.trace_ids)}
    opinions, _ = generative_opinions(
        VerdictCache(project.stores.ledger),
        judge_under(metric, judge),
        read,
        [()] * len(read),
        no_progress,
    )
    unjudged = [one for one in opinions if isinstance(one, Unjudged)]
    if len(unjudged) * 10 > len(read):
        raise BadMetric(
            metric.file,
            f"its judge has no answer to {len(unjudged):,} of {len(read):,} traces: "
            f"{unjudged[0].why}",
        )
    is_against, is_answered = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    value = np.full(len(labels), np.nan)
    against_true = AGAINST[metric.direction] == "true"
    for conversation, opinion in zip(read, opinions, strict=True):
        if isinstance(opinion, Opinion):
            at = place[conversation.trace_id]
            is_against[at] = (opinion.logit > 0) == against_true
            is_answered[at], value[at] = True, 1 / (1 + np.exp(-opinion.logit))
    return Said(is_against, is_answered, value)
