"""Settings, read once at the edge: `flywheel.toml` of the project, then `FLYWHEEL_*` over it.

Below this module there are only plain values. A misspelt name is refused, and the nearest right
one named.
`FLYWHEEL_SAMPLING__RATE=0.2` sets `rate` of the table `[sampling]`; a list is written as in TOML.
"""

import os
import tomllib
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flywheel.errors import BadSetting

PROJECT_FILE = "flywheel.toml"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProjectSettings(_Table):
    """Where the project keeps its things."""

    name: str = Field("flywheel", min_length=1, description="Shown in reports.")
    data_dir: str = Field(".flywheel", description="Ledger, warehouse and artifacts, under it.")
    first_day: date = Field(
        date(2025, 1, 1), description="First daily partition that the orchestrator offers."
    )


class LedgerSettings(_Table):
    """What must never be lost."""

    url: str = Field("", description="SQLAlchemy URL; empty is SQLite in the data folder.")


class WarehouseSettings(_Table):
    """The analytic store."""

    path: str = Field("", description="DuckDB file; empty is warehouse.duckdb in the data folder.")
    lock_timeout_s: float = Field(600.0, gt=0, description="How long to wait for another process.")
    memory_limit_gb: float = Field(4.0, gt=0.1, description="DuckDB's memory limit.")


class ArtifactSettings(_Table):
    """Files that are named by their content."""

    path: str = Field("", description="Folder; empty is artifacts in the data folder.")


class ComputeSettings(_Table):
    """How much of the machine to use."""

    threads: int = Field(
        max(1, (os.cpu_count() or 2) - 1), ge=1, description="Torch, FAISS and DuckDB threads."
    )


class SamplingSettings(_Table):
    """Which traces the encoder reads; the lexical tier reads all."""

    rate: float = Field(1.0, gt=0, le=1, description="Share of traces, by a hash of the trace id.")
    min_per_stratum: int = Field(
        50, ge=0, description="Raise the rate of an app and day that would give fewer than this."
    )


class JudgeSettings(_Table):
    """The perceived-error judge."""

    embedder: str = Field(
        "all-MiniLM-L6-v2", description="Bundled, or any sentence-transformers model or folder."
    )
    max_message_chars: int = Field(
        0, ge=0, description="Cut each turn to this many characters in the middle; 0 is whole."
    )
    strip_markers: list[str] = Field(
        [
            r"\[Request interrupted by user[^\]]*\]",
            r"The user doesn't want to proceed with this tool use\.[^\n]*",
        ],
        description="Patterns that a tool wrote into a turn; removed before a judge reads it.",
    )


class QueueSettings(_Table):
    """What people are asked to look at, each day."""

    daily_items: int = Field(40, ge=1, description="Expected number of items drawn a day.")
    audit_share: float = Field(
        0.25, gt=0, le=1, description="Share of them drawn uniformly, whatever the score."
    )
    uniform_floor: float = Field(
        0.2, gt=0, le=1, description="tau: the uniform part of the targeted draw (2403.03208)."
    )


class RetrievalSettings(_Table):
    """How corrections are ranked for a conversation."""

    k: int = Field(5, ge=1, le=50, description="Examples per conversation.")
    half_life_days: float = Field(30.0, gt=0, description="Age at which an example counts half.")
    gamma: float = Field(1.0, ge=0, description="Extra weight of examples the judge got wrong.")
    diversity: float = Field(0.7, ge=0, le=1, description="lambda of maximal marginal relevance.")


class TrainingSettings(_Table):
    """How a challenger is trained."""

    min_corrections: int = Field(
        50, ge=1, description="New labels after which the sensor starts a retraining."
    )
    rank: int = Field(8, ge=1, le=256, description="LoRA rank.")
    epochs: int = Field(3, ge=1, le=50, description="Passes over the training rows.")
    seed: int = Field(0, ge=0, description="Seed of everything random in a training.")


class GateSettings(_Table):
    """What a challenger must show."""

    promotion: Literal["approve", "auto"] = Field(
        "approve", description="auto moves the champion alias by itself when the gate passes."
    )
    min_positives: int = Field(30, ge=1, description="Positives in the holdout, at least.")
    min_discordant: int = Field(6, ge=1, description="Pairs on which the two differ, at least.")
    alpha: float = Field(
        0.05, gt=0, lt=0.5, description="Error that all looks at the holdout may spend together."
    )


class WebSettings(_Table):
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


class Settings(_Table):
    """Everything that can be set, one table a stage."""

    project: ProjectSettings = ProjectSettings()
    ledger: LedgerSettings = LedgerSettings()
    warehouse: WarehouseSettings = WarehouseSettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    compute: ComputeSettings = ComputeSettings()
    sampling: SamplingSettings = SamplingSettings()
    judge: JudgeSettings = JudgeSettings()
    queue: QueueSettings = QueueSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    training: TrainingSettings = TrainingSettings()
    gate: GateSettings = GateSettings()
    web: WebSettings = WebSettings()


# Read by tests, benchmarks and the shell, and no setting of a project.
_OTHER_VARIABLES = {"FLYWHEEL_PROJECT", "FLYWHEEL_BENCH_DATA"}


def read_settings(folder: Path) -> Settings:
    """The settings of the project in `folder`; defaults where it has no flywheel.toml.

    Raises BadSetting on an unknown name, a bad value or a file that is no TOML.
    """
    path = folder / PROJECT_FILE
    tables: dict[str, dict[str, object]] = {}
    if path.exists():
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadSetting(f"{path} is not TOML: {error}") from error
    _check_names(tables, str(path))
    overrides = _from_environment()
    _check_names(overrides, "the environment")
    for name, table in overrides.items():
        tables.setdefault(name, {}).update(table)
    try:
        return Settings.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        is_override = len(place) > 1 and place[1] in overrides.get(place[0], {})
        source = "the environment" if is_override else path
        where = ".".join(place)
        raise BadSetting(f"{source}: {where}: {first['msg']}; got {first['input']!r}") from error


def _from_environment() -> dict[str, dict[str, object]]:
    tables: dict[str, dict[str, object]] = {}
    for variable, value in os.environ.items():
        if not variable.startswith("FLYWHEEL_") or variable in _OTHER_VARIABLES:
            continue
        table, _, field = variable.removeprefix("FLYWHEEL_").lower().partition("__")
        tables.setdefault(table, {})[field] = _value_of(value)
    return tables


def _value_of(text: str) -> object:
    """A list is written as in TOML; of anything else the field's own type is made."""
    if not text.startswith("["):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _check_names(tables: dict[str, dict[str, object]], where: str) -> None:
    known = {name: field.annotation for name, field in Settings.model_fields.items()}
    for table, fields in tables.items():
        if table not in known:
            raise BadSetting(_unknown(where, f"table {table!r}", table, list(known)))
        model = known[table]
        names = list(getattr(model, "model_fields", {}))
        if not isinstance(fields, dict):
            raise BadSetting(f"{where}: {table!r} is a table, write [{table}] above its settings")
        for field in fields:
            if field not in names:
                raise BadSetting(_unknown(where, f"{table}.{field}", field, names))


def _unknown(where: str, what: str, name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"{where}: there is no setting {what}; {hint}"
