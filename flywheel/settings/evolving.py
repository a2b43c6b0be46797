"""Settings of what is proposed: which model proposes, and how much it may read."""

from pydantic import Field

from flywheel.settings.table import Table


class EvolutionSettings(Table):
    """Proposals of metrics, functions and cases."""

    model: str = Field(
        "", description="Which of [judges.NAME], an endpoint, writes proposals; empty is none."
    )
    traces: int = Field(
        30, ge=4, le=500, description="Labelled traces that it reads to propose metrics, at most."
    )
    max_reply_tokens: int = Field(
        2_000, ge=100, description="Length of what it writes at once, at most."
    )
    context_tokens: int = Field(
        32_768, ge=1_024, description="Of the model; a longer prompt is not sent."
    )
    metric_seconds: float = Field(
        60.0, gt=0, description="What a proposed metric may take for all labelled traces."
    )
    metric_memory_mb: int = Field(
        2_048, ge=256, description="Memory that a proposed metric may take."
    )
    rubric_traces: int = Field(
        100, ge=10, description="Labelled traces that a proposed rubric is put to, at most."
    )
    coverage: float = Field(
        0.8, gt=0, le=1, description="Share of errors that a selected set of metrics finds."
    )
    false_failures: float = Field(
        0.2, ge=0, lt=1, description="Share of good traces that the set may flag, all together."
    )
    mode_days: int = Field(
        28, ge=7, le=366, description="Days of flagged traces that failure modes are made of."
    )
    mode_traces: int = Field(
        1_000, ge=50, le=5_000, description="Flagged traces that are clustered at once, at most."
    )
    tasks: str = Field(
        "",
        description="A file of tasks with answers, in the project's folder, that functions are "
        "learnt from once a week; empty is none.",
    )
    agent_steps: int = Field(
        6, ge=1, le=50, description="Steps an agent may take to solve a task, at most."
    )
    optimiser_steps: int = Field(
        10, ge=1, le=100, description="Times that functions are changed and measured, at most."
    )
    optimiser_patience: int = Field(
        3, ge=1, le=100, description="Rejected steps in a row, after which it ends early."
    )
    function_alpha: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Chance that functions which are no better pass on the training tasks.",
    )
    sandbox_seconds: int = Field(
        5, ge=1, le=600, description="Of the processor, that one call of a function may take."
    )
    sandbox_memory_mb: int = Field(
        512, ge=64, le=65_536, description="Of memory, that one call of a function may take."
    )
    sandbox_packages: list[str] = Field(
        default_factory=list,
        description="Packages, each as NAME==VERSION, that functions may import; they are "
        "installed beside Flywheel.",
    )
    graph_days: int = Field(
        28, ge=1, le=366, description="Days of traces that the graph of calls is made of."
    )
    graph_traces: int = Field(
        20_000, ge=100, description="Traces of an application that the graph is made of, at most."
    )
    probes: int = Field(
        0,
        ge=0,
        description="Traces a day that the generative judge reads where the graph says the risk "
        "is, with known chances; 0 is none.",
    )
    probe_floor: float = Field(
        0.3, gt=0, le=1, description="Share of the probes that is drawn from all traces alike."
    )
    tokenizer: str = Field(
        "",
        description="Of the model that is shown rows: a folder or a name of a hub; empty takes the "
        "server's count of the prompt.",
    )
    format_cases: int = Field(
        0,
        ge=0,
        le=5_000,
        description="Questions on which the weekly job compares formats of rows; 0 leaves it to "
        "the command.",
    )
