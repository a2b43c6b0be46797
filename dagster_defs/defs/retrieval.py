"""Retrieval: the corrections as indexes that judges and applications ask for examples."""

import dagster as dg

from dagster_defs.defs.corrections import corrections
from dagster_defs.defs.judge import judge_scores
from dagster_defs.metadata import facts
from dagster_defs.resources import ProjectResource
from flywheel.in_use import embedder_of, levers_of
from flywheel.retrieval import update_indexes


@dg.asset(group_name="retrieval", kinds={"faiss"}, deps=[judge_scores, corrections])
def correction_index(project: ProjectResource) -> dg.MaterializeResult:
    """The published indexes, for judges and applications, brought up to the labels."""
    opened = project.get()
    report = update_indexes(opened.stores, embedder_of(opened), levers_of(opened))
    return dg.MaterializeResult(metadata=facts(report))
