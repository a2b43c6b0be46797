"""What goes wrong in a request, as one sentence: on a page for people, in JSON for programs.

Exceptions in, answers out. What an outsider can cause is an answer of 400 to 499 or a 503; anything
else is our fault, is logged with the request's number, and says no more than that number.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from flywheel.errors import BadInput, FlywheelError, NotEnough, NotFound, Refused, TryAgain
from flywheel.safety import encodable
from flywheel.traces.inbox import InboxFull
from flywheel.web.access import NotAllowed, NotSignedIn, actor_of, is_api
from flywheel.web.context import web_of
from flywheel.web.otlp_bodies import is_otlp, otlp_fault
from flywheel.web.pages import page, see_other, sentence_of
from flywheel.web.security import answer_headers
from flywheel.web.signing_in import TooManyFailures

logger = logging.getLogger("flywheel.web")

# The first that fits; what is in none of them is our fault.
_STATUS: tuple[tuple[type[FlywheelError], int], ...] = (
    (NotSignedIn, 401),
    (NotAllowed, 403),
    (TooManyFailures, 429),
    (InboxFull, 429),
    (NotFound, 404),
    (BadInput, 422),
    (Refused, 409),
    (NotEnough, 409),
    (TryAgain, 503),
)
_WORDS: Mapping[int, str] = {
    404: "there is no such page",
    405: "this address does not take such a request",
    413: "that is more than is taken: 32 MB, and without being signed in 256 kB",
}
_HEADINGS: Mapping[int, str] = {
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    409: "Not possible now",
    413: "Too large",
    422: "That cannot be used",
    429: "Too many tries",
    503: "Busy",
}


def handle_faults(app: FastAPI) -> None:
    """Have the application answer what goes wrong."""
    app.add_exception_handler(FlywheelError, _foreseen)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(sa.exc.DataError, _out_of_range)
    app.add_exception_handler(OverflowError, _out_of_range)
    app.add_exception_handler(sa.exc.OperationalError, _busy)
    app.add_exception_handler(Exception, _our_fault)


def _answer(
    request: Request, status: int, sentence: str, headers: Mapping[str, str] | None = None
) -> Response:
    sentence = encodable(sentence)
    response: Response
    if is_otlp(request):
        response = otlp_fault(request, status, sentence)
    elif is_api(request):
        response = JSONResponse({"error": sentence}, status)
    else:
        heading = _HEADINGS.get(status, "Something went wrong")
        context = {"heading": heading, "sentence": sentence_of(sentence)}
        response = page(request, actor_of(request), "error.html", status, **context)
    response.headers.update(headers or {})
    return response


def _foreseen(request: Request, error: Exception) -> Response:
    assert isinstance(error, FlywheelError)
    if isinstance(error, NotSignedIn) and not is_api(request):
        return _sign_in_first(request, error)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if status == 500:
        logger.error("request %s: %s", request.state.request_id, error)
    headers: dict[str, str] = {}
    if isinstance(error, TooManyFailures | InboxFull):
        headers["Retry-After"] = str(error.wait_s)
    elif status == 503:
        headers["Retry-After"] = "5"
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(request, status, str(error), headers)


def _sign_in_first(request: Request, error: NotSignedIn) -> Response:
    """Lead whoever looks to the login page, and back; refuse whoever would change something."""
    if request.method in ("GET", "HEAD"):
        query = f"?{request.url.query}" if request.url.query else ""
        response: Response = see_other("/login", next=request.url.path + query)
    else:
        response = _answer(request, 403, str(error))
    if error.is_stale:
        web_of(request).sessions.end(response)
    return response


def _bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    why = _unread(request, error) if is_api(request) else ""
    return _answer(request, 422, why or first_of(error.errors()))


def first_of(errors: Sequence[Any]) -> str:
    """The first of pydantic's errors as one sentence: where, and what."""
    # Which of two models a body was taken for is no part of what was sent.
    where = ".".join(str(part) for part in errors[0]["loc"] if part not in ("one", "many"))[:200]
    why = str(errors[0]["msg"]).removeprefix("Value error, ")
    return f"{where}: {why}" if where else why


def _unread(request: Request, error: RequestValidationError) -> str:
    """Why a body could not be read as JSON at all; empty where it was."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # FastAPI takes a body of another type for bytes, and would say that it is no object.
    if isinstance(error.body, bytes) and not media.endswith("json"):
        return f"the content type {media[:40]!r} is not read; application/json is"
    return ""


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = _WORDS.get(error.status_code, str(error.detail))
    return _answer(request, error.status_code, sentence, error.headers)


def _out_of_range(request: Request, error: Exception) -> Response:
    logger.warning("request %s: %s", request.state.request_id, str(error).splitlines()[0])
    return _answer(request, 422, "a value in the request is out of its range")


def _busy(request: Request, error: Exception) -> Response:
    logger.error("request %s: %s", request.state.request_id, str(error).splitlines()[0])
    return _answer(request, 503, "the ledger is busy; try again in a moment", {"Retry-After": "5"})


def _our_fault(request: Request, error: Exception) -> Response:
    # The server logs the traceback itself.
    request_id: str = request.state.request_id
    logger.error("request %s: %s", request_id, type(error).__name__)
    sentence = f"that failed by our fault; the log knows it as request {request_id}"
    # No middleware stands around this answer any more.
    headers = answer_headers(request_id) | {"Cache-Control": "no-store"}
    return _answer(request, 500, sentence, headers)
