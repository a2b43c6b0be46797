"""What Langfuse's SDK asks besides taking spans: whether its key is in use, and scores of traces.

Its JSON in, rows of the ledger's `feedback` out. The one idea is that a score is read as the same
score in a file of Langfuse's export is, and is then held to the limits of `POST /v1/feedback`.
"""

import uuid
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Body, Response
from pydantic import Field, ValidationError

from flywheel.errors import BadInput
from flywheel.traces.spans.formats.langfuse import read_score
from flywheel.web.access import Actor
from flywheel.web.api import Web_
from flywheel.web.context import Web
from flywheel.web.faults import first_of
from flywheel.web.feedback_api import MAX_ROWS, FeedbackBody, Sender, receive_feedback

router = APIRouter(prefix="/api/public", include_in_schema=False)

Sent = Mapping[str, object]
_Batch = Annotated[list[Sent], Field(max_length=MAX_ROWS)]


@router.get("/projects")
def list_projects(web: Web_, _: Sender) -> dict[str, object]:
    """The one project there is, which is what `Langfuse().auth_check()` looks for."""
    name = web.project.settings.project.name
    own = {"id": name, "name": name, "metadata": {}, "organization": {"id": name, "name": name}}
    return {"data": [own]}


@router.post("/scores")
def receive_scores(
    web: Web_, actor: Sender, response: Response, body: Annotated[Sent | _Batch, Body()]
) -> dict[str, object]:
    """Keep scores of traces, one or a list; what cannot be kept is named, and costs no other."""
    scores = body if isinstance(body, list) else [body]
    refused = _keep(web, actor, list(enumerate(scores)))
    if not isinstance(body, list):
        if refused:
            raise BadInput(refused[0])
        return {"id": body.get("id", "")}
    response.status_code = 207 if refused else 202
    if not refused:
        return {"message": "Accepted"}
    errors = [{"message": f"{place}: {why}"} for place, why in refused.items()]
    return {"accepted": len(scores) - len(refused), "rejected": len(refused), "errors": errors}


def _keep(web: Web, actor: Actor, scores: list[tuple[int, Sent]]) -> dict[int, str]:
    """Commit what can be read; why the others cannot, by their places."""
    said: list[FeedbackBody] = []
    refused: dict[int, str] = {}
    for place, score in scores:
        try:
            said.append(_feedback(score, actor))
        except BadInput as error:
            refused[place] = f"this {error}"
    if said:
        receive_feedback(web, actor, said)
    return refused


def _feedback(score: Sent, actor: Actor) -> FeedbackBody:
    """A score as feedback; raises BadInput."""
    read = read_score({"id": uuid.uuid4().hex, **score})
    if read.source == "annotator" and not actor.may("review"):
        raise BadInput("is a correction, which needs the key of somebody who may review")
    try:
        return FeedbackBody(
            trace_id=read.trace_id,
            span_id=read.span_id,
            name=read.name,
            value=read.value,
            label=read.label,
            comment=read.comment,
            correction=read.correction,
            source=read.source,
            given_at=read.given_at,
            idempotency_key=read.origin,
        )
    except ValidationError as error:
        raise BadInput(f"cannot be kept: {first_of(error.errors())}") from error
