"""The same stages as `flywheel/`, as Dagster sees them: assets, checks, jobs, schedules, sensors.

Nothing here knows how a stage works: an asset calls the library, records what it says, and stops.
"""
