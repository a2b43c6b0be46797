"""For applications in an experiment: which arm a session is given, as JSON by key.

A session or a user in, an arm with what it stands for out. The one idea is that an application
keeps nothing: it asks at the beginning of each session, or of each request, and is told the same.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from flywheel.experiments.assigning import Given, Whom
from flywheel.review.rows import storable
from flywheel.web.access import Actor, may
from flywheel.web.api_bodies import Fault
from flywheel.web.context import web_of

_Id = Annotated[str, Field(max_length=400), AfterValidator(storable)]

router = APIRouter(prefix="/v1", tags=["v1"])
_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Fault, "description": "No key, or one that is not in use."},
    403: {"model": Fault, "description": "A role that may not do this."},
    404: {"model": Fault, "description": "No experiment of this name."},
    409: {"model": Fault, "description": "Both of its judges read the same traces."},
    422: {"model": Fault, "description": "Something that cannot be used; it says what."},
    503: {"model": Fault, "description": "Busy; the same request may succeed later."},
}

Application = Annotated[Actor, Depends(may("serve"))]


class ArmBody(BaseModel):
    """Whose arm is asked for: a session's, or a user's where no session is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    app: _Id = Field("", description="The application that asks.")
    session_id: _Id | None = Field(None, description="As the session's traces name it.")
    user_id: _Id | None = Field(None, description="As the user's traces name it.")

    @model_validator(mode="after")
    def _names_somebody(self) -> "ArmBody":
        if not self.session_id and not self.user_id:
            raise ValueError("give session_id or user_id")
        return self


class ArmOut(BaseModel):
    """The arm, always the same of one session while the experiment runs."""

    model_config = ConfigDict(frozen=True)
    request_id: str
    experiment: str
    arm: str
    value: JsonValue = Field(description="What the arm stands for, as the experiment says.")
    is_counted: bool = Field(description="Whether the session is in the experiment from now on.")
    why: str = Field(description="Why it is not.")
    first_arm: str = Field(description="What to fall back to where nothing can be asked.")
    first_value: JsonValue = Field(description="What that one stands for.")

    @classmethod
    def of(cls, request_id: str, given: Given) -> "ArmOut":
        """An arm as it is answered."""
        first = given.experiment.arms[0]
        return cls(
            request_id=request_id,
            experiment=given.experiment.name,
            arm=given.arm.name,
            value=given.arm.value,
            is_counted=given.is_counted,
            why=given.why,
            first_arm=first.name,
            first_value=first.value,
        )


@router.post("/experiments/{name}/arm", responses=_REFUSALS)
def arm(
    request: Request,
    actor: Application,
    name: Annotated[str, Path(max_length=80)],
    body: ArmBody,
) -> ArmOut:
    """The arm of a session, which counts from now on; the first one where the experiment is over.

    What is answered is noted, once a session. Ask only where the session will meet its arm: one
    that asks and never does only blurs the difference.
    """
    whom = Whom(body.app, body.session_id or None, body.user_id or None)
    given = web_of(request).arms.give(name, whom)
    return ArmOut.of(request.state.request_id, given)
