"""Retrieval: the corrections as an index that judges and applications ask for examples."""

import dagster as dg

from dagster_defs.defs.corrections import corrections
from dagster_defs.defs.judge import judge_scores
from dagster_defs.metadata import facts
from dagster_defs.resources import ProjectResource
from flywheel.loop import embedder_of, levers_of
from flywheel.retrieval import update_index


@dg.asset(group_name="retrieval", kinds={"faiss"}, deps=[judge_scores, corrections])
def correction_index(project: ProjectResource) -> dg.MaterializeResult:
    """The published index of corrections, brought up to the labels; costs what has changed."""
    opened = project.get()
    report = update_index(opened.stores, embedder_of(opened), levers_of(opened))
    return dg.MaterializeResult(metadata=facts(report))
