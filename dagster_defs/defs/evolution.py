"""Evolution: what programs propose to measure, call and test, once a week; people approve it.

Where no model is named, or labels are too few, an asset says so in its metadata and does not fail.
"""

import dagster as dg

from dagster_defs.defs.corrections import corrections
from dagster_defs.defs.judge import judge_scores
from dagster_defs.defs.metrics import code_scores
from dagster_defs.evolution_metadata import (
    case_facts,
    format_facts,
    graph_facts,
    learnt_facts,
    metric_set_facts,
    mode_facts,
    rescored_facts,
)
from dagster_defs.metadata import facts
from dagster_defs.partitions import DAILY, each_day
from dagster_defs.resources import ProjectResource
from flywheel.evolution.call_graph.probing import probe_day
from flywheel.evolution.call_graph.publishing import make_graphs
from flywheel.evolution.cases.weekly import propose_cases_or_why
from flywheel.evolution.failures.looking import look_for_modes, tell_the_week
from flywheel.evolution.formats.weekly import compare_formats_or_why
from flywheel.evolution.functions.learning import learn_functions_or_why
from flywheel.evolution.metric_set.proposing import propose_metrics_or_why
from flywheel.evolution.metric_set.rescoring import rescore_asked


@dg.asset(group_name="evolution", deps=[corrections])
def metric_set(project: ProjectResource) -> dg.MaterializeResult:
    """Changes of what is measured, each measured on labels that its author has not seen."""
    return dg.MaterializeResult(metadata=metric_set_facts(propose_metrics_or_why(project.get())))


@dg.asset(group_name="evolution", deps=[code_scores], kinds={"duckdb"})
def metric_history(project: ProjectResource) -> dg.MaterializeResult:
    """Days that were scored before, by the approved metrics that people asked it of."""
    return dg.MaterializeResult(metadata=rescored_facts(rescore_asked(project.get())))


@dg.asset(group_name="evolution", deps=[corrections], kinds={"duckdb"})
def failure_modes(project: ProjectResource) -> dg.MaterializeResult:
    """How conversations fail, known again from week to week; and the digest of the week."""
    opened = project.get()
    found, digest = look_for_modes(opened), tell_the_week(opened)
    return dg.MaterializeResult(metadata=mode_facts(found, digest))


@dg.asset(group_name="evolution", deps=[code_scores], kinds={"duckdb"})
def call_graph(project: ProjectResource) -> dg.MaterializeResult:
    """What calls what in each application, and at which step errors start."""
    opened = project.get()
    made = make_graphs(opened.stores, opened.settings.evolution)
    return dg.MaterializeResult(metadata=graph_facts(made))


@dg.asset(partitions_def=DAILY, group_name="evolution", deps=[judge_scores])
def probes(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """What the generative judge says of traces that went by the riskiest nodes of the graph."""
    opened = project.get()
    return each_day(context, opened.stores, lambda day: facts(probe_day(opened, day)))


@dg.asset(group_name="evolution")
def functions(project: ProjectResource) -> dg.MaterializeResult:
    """Functions of an agent that solve more of the project's tasks, found and not yet approved."""
    return dg.MaterializeResult(metadata=learnt_facts(learn_functions_or_why(project.get())))


@dg.asset(group_name="evolution", deps=[corrections])
def cases(project: ProjectResource) -> dg.MaterializeResult:
    """Questions that no kept case asks, and what people corrected, proposed as cases."""
    return dg.MaterializeResult(metadata=case_facts(propose_cases_or_why(project.get())))


@dg.asset(group_name="evolution")
def formats(project: ProjectResource) -> dg.MaterializeResult:
    """The cheapest format of rows that the project's model reads no worse than the present one."""
    return dg.MaterializeResult(metadata=format_facts(compare_formats_or_why(project.get())))
