"""What the settings allow a function to take of the machine."""

from flywheel.evolution.sandbox.running import Limits
from flywheel.settings.evolving import EvolutionSettings

# A busy machine gives a process a part of its processor.
_WALL_OF_CPU = 6


def limits_of(settings: EvolutionSettings) -> Limits:
    """The limits of one call."""
    cpu_s = settings.sandbox_seconds
    return Limits(
        cpu_s=cpu_s, wall_s=float(_WALL_OF_CPU * cpu_s), memory_mb=settings.sandbox_memory_mb
    )
