"""Scores by code: a metric is a file with one SELECT, or with the name of a check."""

from flywheel.metrics.files import add_example, load_metrics, read_metrics
from flywheel.metrics.metric import Metric
from flywheel.metrics.sandbox import Limits
from flywheel.metrics.scoring import run_metric, score_day_by_code

__all__ = [
    "Limits",
    "Metric",
    "add_example",
    "load_metrics",
    "read_metrics",
    "run_metric",
    "score_day_by_code",
]
