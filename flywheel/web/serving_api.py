"""For applications in production: examples to answer by, and the judge's word, now.

JSON in and out, by key. The one idea is that an application gets an answer it can use as it is:
examples come quoted for its prompt, each with why it was chosen, and under the number by which the
ledger knows that they were served.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from flywheel.retrieval.places import asked_place
from flywheel.retrieval.quoting import as_messages, as_text
from flywheel.retrieval.served import ServedFor
from flywheel.retrieval.serving import Asked
from flywheel.retrieval.switches import list_switches, switch_off, switch_on
from flywheel.web.access import Actor, may
from flywheel.web.api_bodies import Fault
from flywheel.web.champion import Asked as Judging
from flywheel.web.context import Web, web_of
from flywheel.web.serving_bodies import (
    FewShotsBody,
    FewShotsOut,
    ScoreBody,
    ScoreOut,
    SwitchBody,
    SwitchOut,
    VerdictOut,
    example_out,
)

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Fault, "description": "No request that can be read."},
    401: {"model": Fault, "description": "No key, or one that is not in use."},
    403: {"model": Fault, "description": "A role that may not do this."},
    422: {"model": Fault, "description": "Something that cannot be used; it says what."},
    503: {"model": Fault, "description": "Busy; the same request may succeed later."},
}
router = APIRouter(prefix="/v1", tags=["v1"], responses=_REFUSALS)

Application = Annotated[Actor, Depends(may("serve"))]
Manager = Annotated[Actor, Depends(may("manage"))]


async def _web(request: Request) -> Web:
    # A plain function would be given a thread of its own.
    return web_of(request)


Web_ = Annotated[Web, Depends(_web)]


@router.post("/few-shots")
def few_shots(request: Request, web: Web_, actor: Application, body: FewShotsBody) -> FewShotsOut:
    """Corrections of answers to requests like this one, and answers that people found right.

    Of this application alone, decided by people, and never of what measures; nothing under
    `retrieval.min_similarity`. Those of the `node` that asks come first. What is served is noted
    with the number of this request. Where an experiment compares ways of serving, the session's arm
    says how.
    """
    request_id: str = request.state.request_id
    asked = Asked(
        text=body.request,
        app=body.app,
        k=body.k or web.project.settings.retrieval.k,
        kinds=frozenset(body.kinds),
        trace_id=body.trace_id,
        session_id=body.session_id,
        user_id=body.user_id,
        place=asked_place(body.node, body.parent),
    )
    served_for = ServedFor(request_id, body.app, body.trace_id, body.session_id, body.user_id)
    served, given = web.arms.examples(web.examples, asked, served_for)
    return FewShotsOut(
        request_id=request_id,
        index_version=served.index_version,
        examples=[example_out(*one) for one in zip(served.found, served.said, strict=True)],
        messages=[dict(message) for message in as_messages(served.said)],
        text=as_text(served.said),
        experiment=given.experiment.name if given else None,
        arm=given.arm.name if given else None,
    )


@router.post("/score")
def score(request: Request, web: Web_, actor: Application, body: ScoreBody) -> ScoreOut:
    """What the judge in use says of one conversation, now; the same as it says of a day's.

    A conversation in which the user says nothing after an answer has no verdict.
    """
    judged = web.champion.score(
        Judging(body.trace_id or "now", body.said(), body.app, body.generative)
    )
    return ScoreOut(
        request_id=request.state.request_id,
        trace_id=body.trace_id,
        judge_version=judged.judge_version,
        verdict=None if judged.verdict is None else VerdictOut.of(judged.verdict),
        skipped=None if judged.verdict else "not eligible: no user turn after an answer",
    )


@router.get("/examples/switches")
def switches(web: Web_, actor: Manager) -> list[SwitchOut]:
    """What is switched off: examples, applications, or all."""
    return [SwitchOut.model_validate(one) for one in list_switches(web.stores.ledger)]


@router.put("/examples/switch")
def switch(web: Web_, actor: Manager, body: SwitchBody) -> list[SwitchOut]:
    """Serve an example, an application's or all of them no longer, or again; from now on."""
    turn = switch_on if body.is_on else switch_off
    turn(web.stores.ledger, body.scope, body.subject, actor.name, body.why)
    return switches(web, actor)
