"""Settings, read once at the edge: `flywheel.toml` of the project, then `FLYWHEEL_*` over it.

Below this module there are only plain values. A misspelt name is refused, and the nearest right
one named.
`FLYWHEEL_SAMPLING__RATE=0.2` sets `rate` of the table `[sampling]`; a list is written as in TOML.
"""

from flywheel.settings.evolving import EvolutionSettings
from flywheel.settings.judging import GenerativeSettings, JudgeSettings, PanelSettings
from flywheel.settings.learning import GateSettings, TargetSettings, TrainingSettings
from flywheel.settings.reading import PROJECT_FILE, read_settings
from flywheel.settings.tables import (
    NAMED_TABLES,
    AlertRule,
    ArtifactSettings,
    ComputeSettings,
    LedgerSettings,
    PrivacySettings,
    ProjectSettings,
    QualitySettings,
    QueueSettings,
    RetentionSettings,
    RetrievalSettings,
    SamplingSettings,
    Settings,
    TracesSettings,
    WarehouseSettings,
    WebSettings,
)

__all__ = [
    "NAMED_TABLES",
    "PROJECT_FILE",
    "AlertRule",
    "ArtifactSettings",
    "ComputeSettings",
    "EvolutionSettings",
    "GateSettings",
    "GenerativeSettings",
    "JudgeSettings",
    "LedgerSettings",
    "PanelSettings",
    "PrivacySettings",
    "ProjectSettings",
    "QualitySettings",
    "QueueSettings",
    "RetentionSettings",
    "RetrievalSettings",
    "SamplingSettings",
    "Settings",
    "TargetSettings",
    "TracesSettings",
    "TrainingSettings",
    "WarehouseSettings",
    "WebSettings",
    "read_settings",
]
