"""Quality: how often users see an error, and how far the judge that counts them can be believed."""

import dagster as dg

from dagster_defs.defs.corrections import corrections
from dagster_defs.defs.judge import judge_scores
from dagster_defs.metadata import quality_tables
from dagster_defs.resources import ProjectResource
from flywheel.quality import estimate_rates, write_quality_report
from flywheel.quality.rates import MIN_RESPONSE_RATE


@dg.asset(group_name="quality", deps=[judge_scores, corrections])
def quality_report(project: ProjectResource) -> dg.MaterializeResult:
    """The rate of perceived errors of each application, and how people and the judge agree.

    What the quality page shows is published with it.
    """
    return dg.MaterializeResult(metadata=quality_tables(write_quality_report(project.get().stores)))


@dg.asset_check(asset=quality_report)
def most_audit_items_are_decided(project: ProjectResource) -> dg.AssetCheckResult:
    """At least 80 % of the audit items are decided; those left out may differ from the rest."""
    rates = estimate_rates(project.get().stores)
    response = next((rate.response_rate for rate in rates), None)
    return dg.AssetCheckResult(
        passed=response is None or response >= MIN_RESPONSE_RATE,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"response rate": "no audit items yet" if response is None else response},
    )
