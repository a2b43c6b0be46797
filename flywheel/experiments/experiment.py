"""What an experiment is: arms with what they stand for, who is given which, and what is compared.

Words of a person in, a frozen `Experiment` out, or one sentence that says what is wrong with it.
The one idea is that a session's arm is a hash of its name, salted with the experiment's: nothing
has to be kept for a session to meet the same arm again, and two experiments are independent.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from flywheel.errors import BadInput
from flywheel.records import unit_hash
from flywheel.retrieval.search import EXAMPLE_KINDS, ExampleKind

ExperimentKind = Literal["prompt", "few-shots", "judge", "adapter"]
EXPERIMENT_KINDS: tuple[ExperimentKind, ...] = get_args(ExperimentKind)
Value: TypeAlias = JsonValue

# The rate of perceived errors as labels correct it, and what the judge alone says of it.
PERCEIVED_ERROR, VERDICT = "perceived_error", "verdict"
# Of judges on the same traces: how often each is right, by people's labels.
RIGHT = "right"
# Of any metric, and of feedback by its name.
METRIC, FEEDBACK = "metric:", "feedback:"
MOST_ARMS = 6
# With fewer sessions an arm, an interval that holds for many need not hold.
LEAST_SESSIONS = 50
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CLOSE = 1e-6


class FewShotPolicy(BaseModel):
    """How an arm is served examples; what it leaves out is as the request or the settings say."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    k: int | None = Field(None, ge=0, le=50, description="At most so many; 0 serves none.")
    min_similarity: float | None = Field(None, ge=-1, le=1, description="Below it, none.")
    kinds: list[ExampleKind] = Field(
        default=list(EXAMPLE_KINDS), max_length=3, description="Which kinds of examples."
    )


@dataclass(frozen=True, slots=True)
class ExperimentArm:
    """One of the things compared; `value` is what it stands for, as JSON."""

    name: str
    share: float
    value: Value = None

    @property
    def policy(self) -> FewShotPolicy:
        """What it stands for, of an experiment of few-shots."""
        return FewShotPolicy.model_validate(self.value or {})


@dataclass(frozen=True, slots=True)
class Plan:
    """What is settled before the first look; changing it later would undo what alpha promises.

    `difference` is the least difference of the outcome that matters, in the outcome's own unit;
    `least_sessions` an arm are waited for before anything is said.
    """

    outcome: str
    difference: float
    alpha: float = 0.05
    least_sessions: int = LEAST_SESSIONS


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment; the first arm is what the others are compared with. `app` is empty for all."""

    name: str
    kind: ExperimentKind
    app: str
    arms: tuple[ExperimentArm, ...]
    plan: Plan
    actor: str
    started_at: datetime
    stopped_at: datetime | None = None
    conclusion: str = ""

    @property
    def is_running(self) -> bool:
        """Whether sessions are still given arms."""
        return self.stopped_at is None

    @property
    def is_paired(self) -> bool:
        """Whether both arms read the same traces, so that nobody is given either."""
        return self.kind == "judge"

    @property
    def is_rate(self) -> bool:
        """Whether the outcome is a share, to be said in percent."""
        return self.plan.outcome in (PERCEIVED_ERROR, VERDICT, RIGHT)

    def arm_of(self, session_id: str | None, user_id: str | None = None) -> ExperimentArm:
        """The arm of a session, or of a user where no session is known; always the same."""
        place = unit_hash(unit_name(session_id, user_id), f"experiment:{self.name}")
        edge = 0.0
        for arm in self.arms:
            edge += arm.share
            if place < edge:
                return arm
        return self.arms[-1]


def unit_name(session_id: str | None, user_id: str | None) -> str:
    """What is given an arm; raises BadInput where neither is known."""
    if session_id:
        return f"session:{session_id}"
    if user_id:
        return f"user:{user_id}"
    raise BadInput("an arm is a session's or a user's; give session_id or user_id")


def unit_key(session_id: str | None, user_id: str | None) -> str:
    """The same at a length that every ledger can have as a key."""
    name = unit_name(session_id, user_id).encode("utf-8", "surrogatepass")
    return hashlib.sha256(name).hexdigest()


def check_experiment(experiment: Experiment) -> Experiment:
    """The same; raises BadInput where it cannot be run."""
    arms, plan = experiment.arms, experiment.plan
    _check_name("experiment", experiment.name, 80)
    for arm in arms:
        _check_name("arm", arm.name, 40)
        _check_value(experiment.kind, arm)
    if not 2 <= len(arms) <= MOST_ARMS:
        raise BadInput(f"an experiment has 2 to {MOST_ARMS} arms, and this one has {len(arms)}")
    if len({arm.name for arm in arms}) < len(arms):
        raise BadInput("two arms have the same name")
    total = sum(arm.share for arm in arms)
    if min(arm.share for arm in arms) <= 0 or abs(total - 1) > _CLOSE:
        raise BadInput(f"shares are above 0 and add up to 1, and these add up to {total:g}")
    _check_outcome(experiment.kind, plan.outcome, len(arms))
    if plan.difference <= 0 or (experiment.is_rate and plan.difference >= 1):
        raise BadInput(
            f"the least difference that matters is above 0, and {plan.difference:g} is not; a "
            "share is below 1, so that 0.05 is five points"
        )
    if not 0 < plan.alpha <= 0.2:
        raise BadInput(f"alpha is above 0 and at most 0.2, and {plan.alpha:g} is not")
    if plan.least_sessions < LEAST_SESSIONS:
        raise BadInput(f"at least {LEAST_SESSIONS} sessions an arm are waited for")
    return experiment


def equal_shares(n: int) -> list[float]:
    """As many shares, all alike."""
    return [1 / n] * n


def outcome_name(outcome: str) -> str:
    """What is compared, in words."""
    known = {
        PERCEIVED_ERROR: "the rate of perceived errors",
        VERDICT: "the share of traces in which the judge sees an error",
        RIGHT: "the share of verdicts that people find right",
    }
    kind, _, name = outcome.partition(":")
    return known.get(outcome) or f"the mean of {kind} {name}"


def metric_of(outcome: str) -> str:
    """The name under which a metric's or feedback's scores stand in the warehouse."""
    return outcome if outcome.startswith(FEEDBACK) else outcome.removeprefix(METRIC)


def _check_name(kind: str, name: str, longest: int) -> None:
    if not _NAME.fullmatch(name) or len(name) > longest:
        raise BadInput(
            f"{name[:80]!r} is no name of an {kind}: letters, digits, '.', '_' and '-', at most "
            f"{longest}"
        )


def _check_value(kind: ExperimentKind, arm: ExperimentArm) -> None:
    if kind == "few-shots":
        try:
            FewShotPolicy.model_validate(arm.value or {})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "it"
            raise BadInput(
                f"arm {arm.name} is no policy of few-shots: {where}: {first['msg'].lower()}; "
                'write for example {"k": 0} or {"min_similarity": 0.5}'
            ) from error
    if kind in ("judge", "adapter") and not (isinstance(arm.value, str) and arm.value):
        raise BadInput(f"arm {arm.name} names no version; write it as {arm.name}=VERSION")


def _check_outcome(kind: ExperimentKind, outcome: str, n_arms: int) -> None:
    if kind == "judge":
        if outcome != RIGHT or n_arms != 2:
            raise BadInput(f"judges are compared two at a time, by the outcome {RIGHT!r}")
        return
    of_name = any(outcome.startswith(by) and outcome != by for by in (METRIC, FEEDBACK))
    if outcome not in (PERCEIVED_ERROR, VERDICT) and not of_name:
        raise BadInput(
            f"{outcome[:80]!r} is no outcome; known: {PERCEIVED_ERROR}, {VERDICT}, "
            f"{FEEDBACK}NAME, {METRIC}NAME"
        )


def default_outcome(kind: ExperimentKind) -> str:
    """What is compared unless something else is asked for."""
    return RIGHT if kind == "judge" else PERCEIVED_ERROR


def by_name(arms: Sequence[ExperimentArm]) -> dict[str, ExperimentArm]:
    """The arms by their names."""
    return {arm.name: arm for arm in arms}
