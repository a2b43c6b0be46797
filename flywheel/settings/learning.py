"""Settings of what is retrained, and of what a challenger must show."""

from typing import Literal

from pydantic import Field

from flywheel.records import Arm, TargetKind
from flywheel.settings.table import Table


class TrainingSettings(Table):
    """How a challenger is trained."""

    min_corrections: int = Field(
        50, ge=1, description="New labels after which the sensor starts a retraining."
    )
    rank: int = Field(8, ge=0, le=256, description="LoRA rank; 0 is by the size of the data.")
    epochs: int = Field(3, ge=1, le=50, description="Passes over the training rows.")
    seed: int = Field(0, ge=0, description="Seed of everything random in a training.")
    learning_rates: list[float] = Field(
        [1e-4, 3e-4, 1e-3], description="Tried on the validation split, for causal models."
    )
    patience: int = Field(
        2, ge=1, le=50, description="Looks at the validation split without gain, then it stops."
    )
    max_examples: int = Field(
        20_000, ge=10, description="Examples of a causal training, at most; new ones first."
    )
    replay_share: float = Field(
        0.3, ge=0, lt=1, description="Share of older examples, where not all of them fit in."
    )
    negatives_a_positive: float = Field(
        2.0,
        ge=0,
        le=10,
        description="Failures learnt from for each good example, at most.",
    )
    max_tokens: int = Field(
        2048, ge=64, description="Of an example of a causal training; a longer one is left out."
    )


class TargetSettings(Table):
    """What else is retrained, `[targets.NAME]`, beside the judge of all applications."""

    kind: TargetKind = Field(
        "judge",
        description=(
            "`judge`: the encoder judge of these applications alone; `chat-judge`: a causal model "
            "that judges; `app`: the application's own model."
        ),
    )
    apps: list[str] = Field([], description="Applications that it learns from; empty is all.")
    base: str = Field("", description="A causal model of a hub or a folder, for the causal kinds.")
    judge: str = Field("", description="Which of [judges.NAME] runs a chat-judge.")
    arm: Arm = Field(
        "nat", description="How failures are learnt from (2402.11651); dpo and kto need an extra."
    )


class GateSettings(Table):
    """What a challenger must show."""

    promotion: Literal["approve", "auto"] = Field(
        "approve", description="auto moves the champion alias by itself when the gate passes."
    )
    min_positives: int = Field(30, ge=1, description="Positives in the holdout, at least.")
    min_discordant: int = Field(6, ge=1, description="Pairs on which the two differ, at least.")
    alpha: float = Field(
        0.05, gt=0, lt=0.5, description="Error that all looks at the holdout may spend together."
    )
    margin: float = Field(
        0.05, gt=0, lt=0.5, description="What a challenger may lose on a suite and still pass."
    )
    general: str = Field(
        "", description="A file of labelled traces that no challenger may get worse on."
    )
