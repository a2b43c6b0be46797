"""Every setting with its default, its bounds and its meaning: one class a table of `flywheel.toml`.

Nothing is read here; the table of the README is made of these.
"""

import os
from datetime import date
from typing import Literal

from pydantic import BaseModel, Field

from flywheel.settings.evolving import EvolutionSettings
from flywheel.settings.judging import GenerativeSettings, JudgeSettings, PanelSettings
from flywheel.settings.learning import GateSettings, TargetSettings, TrainingSettings
from flywheel.settings.table import Table


class ProjectSettings(Table):
    """Where the project keeps its things."""

    name: str = Field("flywheel", min_length=1, description="Shown in reports.")
    data_dir: str = Field(".flywheel", description="Ledger, warehouse and artifacts, under it.")
    first_day: date = Field(
        date(2025, 1, 1), description="First daily partition that the orchestrator offers."
    )


class LedgerSettings(Table):
    """What must never be lost."""

    url: str = Field("", description="SQLAlchemy URL; empty is SQLite in the data folder.")


class WarehouseSettings(Table):
    """The analytic store."""

    path: str = Field("", description="DuckDB file; empty is warehouse.duckdb in the data folder.")
    url: str = Field(
        "",
        description="`ducklake:postgres:` and how to connect (`host=... dbname=...`), for many "
        "writing processes, with the extra `ducklake`; empty is the file.",
    )
    lake_path: str = Field(
        "", description="Folder or `s3://` URL of the lake's Parquet; empty is lake, beside."
    )
    s3_endpoint: str = Field(
        "", description="Host and port of an S3-compatible store; empty is AWS."
    )
    s3_region: str = Field("us-east-1", description="Its region; keys are AWS_ACCESS_KEY_ID's.")
    s3_tls: bool = Field(True, description="Whether that store is spoken to by HTTPS.")
    lock_timeout_s: float = Field(600.0, gt=0, description="How long to wait for another process.")
    memory_limit_gb: float = Field(4.0, gt=0.1, description="DuckDB's memory limit.")


class ArtifactSettings(Table):
    """Files that are named by their content."""

    path: str = Field("", description="Folder; empty is artifacts in the data folder.")


class ComputeSettings(Table):
    """How much of the machine to use."""

    threads: int = Field(
        max(1, (os.cpu_count() or 2) - 1), ge=1, description="Torch, FAISS and DuckDB threads."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Numbers that the encoder judges are run in; bfloat16 only where the CPU has "
        "tiles for it (AMX), else float32. Part of the judge's version.",
    )
    usd_per_cpu_hour: float = Field(
        0.05, ge=0, description="What an hour of one core costs; prices the tiers that run here."
    )
    engine: Literal["local", "ray"] = Field(
        "local",
        description="Where batches of the encoder are read: in this process, or by Ray Data, with "
        "the extra `ray`; the same rows.",
    )
    ray_address: str = Field(
        "", description="Of a Ray cluster; empty starts Ray on this machine, for this process."
    )
    ray_workers: int = Field(
        0, ge=0, description="Batches read at once, of `threads` each, at most; 0 is what fits."
    )


class TracesSettings(Table):
    """How traces come in, and how long they stay."""

    idle_s: float = Field(
        60.0, ge=0, description="Silence after which a live trace counts as whole without its root."
    )
    inbox_mb: int = Field(
        512, ge=1, description="What the inbox holds at most; beyond it senders are told to wait."
    )
    watch: str = Field("", description="A folder whose new files are imported; empty is none.")
    retention_days: int = Field(0, ge=0, description="Age at which traces are removed; 0 is never.")


class RetentionSettings(Table):
    """Another age for one application, `[retention.APP]`."""

    days: int = Field(0, ge=0, description="Age at which its traces are removed; 0 is never.")


class PrivacySettings(Table):
    """What is taken out of a trace before it is stored."""

    rules: list[str] = Field(
        [],
        description="Before anything is stored: names of built-in rules, or patterns of your own.",
    )
    entities: list[str] = Field(
        [], description="What Presidio looks for before the warehouse; empty is nothing."
    )
    language: str = Field("en", min_length=2, description="Whose numbers Presidio knows.")
    regions: list[str] = Field(["US"], description="Of phone numbers that are written without +.")
    fields: dict[str, Literal["off", "mask", "drop"]] = Field(
        {}, description="Keys of a trace, `*` for any part: left alone, masked, or left out whole."
    )


class SamplingSettings(Table):
    """Which traces the encoder reads; the lexical tier reads all."""

    rate: float = Field(1.0, gt=0, le=1, description="Share of traces, by a hash of the trace id.")
    min_per_stratum: int = Field(
        50, ge=0, description="Raise the rate of an app and day that would give fewer than this."
    )


class QueueSettings(Table):
    """What people are asked to look at, each day."""

    daily_items: int = Field(40, ge=1, description="Expected number of items drawn a day.")
    audit_share: float = Field(
        0.25, gt=0, le=1, description="Share of them drawn uniformly, whatever the score."
    )
    uniform_floor: float = Field(
        0.2, gt=0, le=1, description="tau: the uniform part of the targeted draw (2403.03208)."
    )
    review_due_items: int = Field(
        5, ge=0, description="Items a day of each metric whose review is overdue."
    )


class RetrievalSettings(Table):
    """How corrections are ranked for a conversation."""

    k: int = Field(5, ge=1, le=50, description="Examples per conversation.")
    half_life_days: float = Field(30.0, gt=0, description="Age at which an example counts half.")
    gamma: float = Field(1.0, ge=0, description="Extra weight of examples the judge got wrong.")
    node_boost: float = Field(
        1.5, ge=1, le=10, description="Weight of examples of the very node that asks; 1 is none."
    )
    diversity: float = Field(0.7, ge=0, le=1, description="lambda of maximal marginal relevance.")
    min_similarity: float = Field(
        0.4, ge=-1, le=1, description="Below it no example is served to an application."
    )
    warm_up: bool = Field(
        False, description="Load what serves examples when the server starts, not when asked."
    )


class QualitySettings(Table):
    """What is watched, and how readily it is called drift."""

    drift_alpha: float = Field(
        0.01, gt=0, lt=0.5, description="False-alarm rate of all drift tests of a day together."
    )
    reference_days: int = Field(28, ge=2, description="Days before it that a day is compared with.")


class AlertRule(Table):
    """A rule, `[alerts.NAME]`: what is watched, from where on somebody is told, and where."""

    when: Literal[
        "rate",
        "drift",
        "agreement",
        "unscored",
        "spend",
        "queue_age",
        "champion",
        "gate",
        "failure_mode",
        "digest",
    ] = Field(
        "rate",
        description=(
            "`rate` of errors (its lower bound), `drift` found, `agreement` of the judge (its "
            "upper bound), share `unscored`, `spend` in USD a day, `queue_age` in days; a new "
            "`champion`, and what the `gate` said: both without a limit; a new `failure_mode` (of "
            "more conversations than the limit), and the week's `digest`."
        ),
    )
    limit: float = Field(
        0.0, ge=0, description="Above it (below it, for agreement) the rule fires."
    )
    app: str = Field("*", description="The application; * is all of them together.")
    url_env: str = Field(
        "", description="The environment variable with the address: Slack or any other of Apprise."
    )


class WebSettings(Table):
    """The web page for reviewers and the HTTP API."""

    public_url: str = Field(
        "", description="The address that people use, where it is not the loopback one."
    )
    secret: str = Field(
        "", description="Signs session cookies; empty is a random one, kept in the data folder."
    )
    session_days: float = Field(14.0, gt=0, description="How long somebody stays signed in.")
    claim_minutes: float = Field(
        5.0, gt=0, description="How long an item stays claimed after its page was last open."
    )


class Settings(Table):
    """Everything that can be set, one table a stage."""

    project: ProjectSettings = ProjectSettings()
    ledger: LedgerSettings = LedgerSettings()
    warehouse: WarehouseSettings = WarehouseSettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    compute: ComputeSettings = ComputeSettings()
    traces: TracesSettings = TracesSettings()
    retention: dict[str, RetentionSettings] = Field({})
    privacy: PrivacySettings = PrivacySettings()
    sampling: SamplingSettings = SamplingSettings()
    judge: JudgeSettings = JudgeSettings()
    judges: dict[str, GenerativeSettings] = Field({})
    panel: PanelSettings = PanelSettings()
    queue: QueueSettings = QueueSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    training: TrainingSettings = TrainingSettings()
    targets: dict[str, TargetSettings] = Field({})
    gate: GateSettings = GateSettings()
    evolution: EvolutionSettings = EvolutionSettings()
    quality: QualitySettings = QualitySettings()
    alerts: dict[str, AlertRule] = Field({})
    web: WebSettings = WebSettings()


# Tables of tables, whose names the project chooses; they are set in the file alone.
NAMED_TABLES: dict[str, type[BaseModel]] = {
    "retention": RetentionSettings,
    "judges": GenerativeSettings,
    "targets": TargetSettings,
    "alerts": AlertRule,
}
