"""What the quality page shows, made by the pipeline and read by the page.

Judged traces, estimates and the ledger in, one artifact out; the one idea is that the page opens no
warehouse and draws nothing.
"""

from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from flywheel.quality.answers import shared_answers
from flywheel.quality.figures import Figure, with_chart
from flywheel.quality.judge_change import JudgeChange, measure_judge_changes
from flywheel.quality.rates import RateEstimate
from flywheel.quality.readings import (
    read_agreement,
    read_decided,
    read_judge,
    read_rates,
    read_waiting,
)
from flywheel.quality.steps import step_figures
from flywheel.quality.trends import measure_trends
from flywheel.quality.watched import watched_figures
from flywheel.records import Interval
from flywheel.statistics import JudgeCard
from flywheel.store import Stores
from flywheel.store.publications import Published


@dataclass(frozen=True, slots=True)
class PublishedQuality:
    """What was known when it was measured.

    `estimates` are those of the whole time; `judge` has the rates of the judge's card by name, on
    `n_labels` audit labels of which `n_errors` are of an error, and nothing where they are too few.
    `changes` says of each judge that read lately whether it agrees with people as it did.
    """

    measured_at: datetime
    estimates: list[RateEstimate]
    judge: dict[str, Interval]
    n_labels: int
    n_errors: int
    figures: list[Figure]
    changes: list[JudgeChange] = field(default_factory=list)


_PUBLISHED = Published("quality", PublishedQuality)


def publish_quality(
    stores: Stores,
    rows: pa.Table,
    estimates: list[RateEstimate],
    card: JudgeCard | None,
    at: datetime,
) -> PublishedQuality:
    """Publish the estimates with the figures of all trends; `rows` are those of `judged_traces`.

    A chart that shows what it showed before is not drawn again.
    """
    before = _PUBLISHED.before(stores)
    known = {figure.key: figure for figure in before.figures if figure.key} if before else {}
    trends = measure_trends(rows, stores.ledger, shared_answers(stores.ledger), at)
    read = (
        read_rates(trends.rates),
        read_judge(trends.judge),
        read_agreement(trends.agreement),
        read_waiting(trends.waiting),
        read_decided(trends.decided),
    )
    made = PublishedQuality(
        at,
        estimates,
        card.rates if card else {},
        card.n if card else 0,
        card.positives if card else 0,
        [
            *(with_chart(figure, chart, known) for figure, chart in read),
            *watched_figures(stores),
            *step_figures(stores),
        ],
        measure_judge_changes(rows),
    )
    return _PUBLISHED.put(stores, made)


def published_quality(stores: Stores) -> PublishedQuality | None:
    """What was last published; None where nothing was, or by a version that wrote it otherwise.

    Raises NotFound where the artifact is gone.
    """
    return _PUBLISHED.get(stores)
