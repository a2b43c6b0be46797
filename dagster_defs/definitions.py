"""The code location: everything that Dagster is told, put together.

Steps share the process of their run unless the run's config asks for processes of their own:

    execution: {config: {multiprocess: {max_concurrent: 2}}}
"""

import dagster as dg

from dagster_defs import defs as stages
from dagster_defs.resources import RESOURCES
from dagster_defs.schedules import JOBS, SCHEDULES
from dagster_defs.sensors import SENSORS

# A step costs tens of milliseconds here, and seconds in a process that loads the models again.
in_process_by_default = dg.multi_or_in_process_executor.configured(
    lambda config: config,
    config_schema=dg.Field(
        dg.Selector({"in_process": dg.Permissive({}), "multiprocess": dg.Permissive({})}),
        default_value={"in_process": {}},
    ),
)

defs = dg.Definitions(
    # A backfill is one run, however many days it has.
    assets=dg.load_assets_from_package_module(
        stages, include_specs=True, backfill_policy=dg.BackfillPolicy.single_run()
    ),
    asset_checks=dg.load_asset_checks_from_package_module(stages),
    jobs=JOBS,
    schedules=SCHEDULES,
    sensors=SENSORS,
    resources=RESOURCES,
    executor=in_process_by_default,
)
