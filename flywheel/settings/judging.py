"""Settings of judges: the fitted one, the generative ones, and a panel of them."""

from typing import Literal

from pydantic import Field

from flywheel.settings.table import Table


class JudgeSettings(Table):
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
    include_tool_calls: bool = Field(
        False, description="Whether a judge reads tool calls and their results with the answer."
    )
    target_agreement: float = Field(
        0.9, gt=0.5, lt=1, description="What a tier must agree with people to decide by itself."
    )
    certify_alpha: float = Field(
        0.05, gt=0, lt=0.5, description="Chance that a certified threshold is too low after all."
    )
    generative: str = Field(
        "", description="Which of [judges.NAME] reads what earlier tiers leave open; empty is none."
    )
    generative_traces: int = Field(
        200, ge=0, description="Traces of a day that it reads, at most: those nearest one half."
    )
    few_shots: int = Field(5, ge=0, le=20, description="Corrections shown in its prompt, at most.")


class GenerativeSettings(Table):
    """A generative judge, `[judges.NAME]`: a causal model here, or an OpenAI-compatible server."""

    kind: Literal["local", "endpoint"] = Field(
        "endpoint", description="A causal model in this process, or an OpenAI-compatible server."
    )
    model: str = Field("", description="A name of a hub or a folder; what the server calls it.")
    adapter: str = Field("", description="A PEFT adapter's folder, for a local model.")
    base_url: str = Field("", description="Of the server, with /v1; empty is OpenAI's own.")
    api_key_env: str = Field(
        "OPENAI_API_KEY", description="The environment variable that holds the key."
    )
    structured: Literal["json_schema", "json_object", "none"] = Field(
        "json_schema", description="How the server is asked for JSON; the reply is checked anyway."
    )
    logprobs: bool = Field(
        True, description="Read the probability from the label's token, where the server gives it."
    )
    reasoning: bool = Field(
        False, description="The model thinks first: no temperature is sent, and no max_tokens."
    )
    votes: int = Field(
        1, ge=1, le=20, description="Replies a trace, where the server gives no probability."
    )
    concurrency: int = Field(8, ge=1, le=256, description="Requests at once.")
    timeout_s: float = Field(60.0, gt=0, description="Silence after which a request is given up.")
    retries: int = Field(5, ge=0, le=20, description="Attempts after the first, a trace.")
    daily_usd: float = Field(
        5.0, ge=0, description="Spent in a UTC day, at most; then it stops until the next."
    )
    usd_per_million_prompt_tokens: float = Field(0.0, ge=0, description="Price of what it reads.")
    usd_per_million_completion_tokens: float = Field(
        0.0, ge=0, description="Price of what it writes."
    )
    max_reply_tokens: int = Field(160, ge=8, description="Length of a reply, at most.")
    context_tokens: int = Field(
        8192, ge=256, description="A longer prompt is not sent, and counted as such."
    )


class PanelSettings(Table):
    """Judges that label traces together, before a person is asked."""

    first: list[str] = Field([], description="Names of [judges.NAME] that vote first.")
    second: list[str] = Field([], description="Those that settle what the first disagree on.")
    daily_traces: int = Field(0, ge=0, description="Traces of a day that they label; 0 is none.")
    audit_share: float = Field(
        0.1, ge=0, le=1, description="Share of the unanimous ones that a person looks at."
    )
