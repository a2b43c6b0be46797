"""Scores by code: a metric is a file with one SELECT, the product's or a project's own."""

from flywheel.metrics.files import Metric, load_metrics, read_metrics
from flywheel.metrics.sandbox import Limits
from flywheel.metrics.scoring import run_metric, score_day_by_code

__all__ = ["Limits", "Metric", "load_metrics", "read_metrics", "run_metric", "score_day_by_code"]
