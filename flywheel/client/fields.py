"""What the calls of a client take by name, so that the asynchronous ones are checked as well."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, TypedDict

from flywheel.client.sender import Limits

Thumbs = Literal["up", "down"]


class Options(TypedDict, total=False):
    """How a client is made."""

    timeout_s: float
    spill_dir: str | Path | None
    spill_mb: float
    spill_days: float
    limits: Limits | None


class TraceFields(TypedDict, total=False):
    """What is known of a conversation besides its messages."""

    trace_id: str | None
    session_id: str | None
    user_id: str | None
    started_at: datetime | None
    ended_at: datetime | None
    metadata: Mapping[str, object] | None
    status: str
    release: str
    model_name: str
    cost_usd: float
    prompt_tokens: int
    completion_tokens: int
    latency_ms: float


class FeedbackFields(TypedDict, total=False):
    """What is said of a trace."""

    thumbs: Thumbs | None
    value: float | None
    name: str
    label: str | None
    comment: str | None
    correction: str | None
    span_id: str | None
    user_id: str | None
