"""Quality: how often users see an error, and how far the judge that counts them can be believed."""

import dagster as dg

from dagster_defs.defs.corrections import corrections
from dagster_defs.defs.judge import judge_scores
from dagster_defs.metadata import drift_table, quality_pictures, quality_tables, table
from dagster_defs.resources import ProjectResource
from flywheel.loop import look_for_drift
from flywheel.quality import estimate_rates, write_quality_report
from flywheel.quality.announcing import announce
from flywheel.quality.rates import MIN_RESPONSE_RATE
from flywheel.store.ledger import now


@dg.asset(group_name="quality", deps=[judge_scores, corrections])
def quality_report(project: ProjectResource) -> dg.MaterializeResult:
    """The rate of perceived errors of each application, and how people and the judge agree.

    What the quality page shows is published with it.
    """
    opened = project.get()
    drift, report = look_for_drift(opened), write_quality_report(opened.stores)
    return dg.MaterializeResult(
        metadata=quality_tables(report) | drift_table(drift) | quality_pictures(opened.stores)
    )


@dg.asset(group_name="quality", deps=[quality_report])
def alerts(project: ProjectResource) -> dg.MaterializeResult:
    """What the rules of the project's settings found, and whom it was told to."""
    opened = project.get()
    told = announce(opened.stores, opened.settings.alerts, now())
    return dg.MaterializeResult(
        metadata={
            "fired": table(("rule", "why"), [(alert.rule, alert.why) for alert in told.fired]),
            "delivered": told.delivered,
            "undelivered": table(("rule", "why"), told.undelivered.items()),
        }
    )


@dg.asset_check(asset=quality_report)
def most_audit_items_are_decided(project: ProjectResource) -> dg.AssetCheckResult:
    """At least 80 % of the audit items are decided; those left out may differ from the rest."""
    rates = estimate_rates(project.get().stores)
    response = next((r.response_rate for r in rates if r.response_rate is not None), None)
    return dg.AssetCheckResult(
        passed=response is None or response >= MIN_RESPONSE_RATE,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"response rate": "no audit items yet" if response is None else response},
    )
