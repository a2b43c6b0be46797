"""One request to a server and what came of it: a reply, or what went wrong and what to do then.

Errors of the `openai` client and bodies of replies in, an `Attempt` out. The one idea is to part
what passes by itself (a busy server, a cut connection) from what stays as it is (a wrong key, a
parameter that the server does not know): the first is tried again, the second is said at once.
"""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from flywheel.errors import BadInput
from flywheel.models.chat import Failure
from flywheel.models.completions import Completion, is_whole, read_completion
from flywheel.models.spending import Outcome
from flywheel.safety import quote

if TYPE_CHECKING:
    import openai

# Of statuses of 400 and more, those that pass by themselves; and all from 500 on.
_PASSING = {408, 409, 425, 429}
# Those that every other prompt would meet too.
_SAME_FOR_ALL = {401, 404, 429}
# Waits between attempts double from the first to the longest.
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
# A server that asks for a longer pause than this is left alone.
LONGEST_PAUSE_S = 120.0
# What a server says is quoted up to here.
_QUOTED_CHARACTERS = 300

# Errors of a connection that was never made: nothing was sent, and nothing is charged.
_NEVER_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}
# What a server names when it rejects a parameter, and what to change then.
_REMEDIES = (
    ("response_format", 'structured = "json_object", or "none"'),
    ("json_schema", 'structured = "json_object", or "none"'),
    ("logprobs", "logprobs = false"),
    ("temperature", "reasoning = true"),
    ("max_tokens", "reasoning = true"),
    ("max_completion_tokens", "reasoning = false"),
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one request.

    `usage` are tokens of prompt and reply; None where the server may have worked and did not say
    how much. `pause_s` is how long the server wants to be left alone.
    """

    outcome: Outcome
    text: str = ""
    label_probability: float | None = None
    usage: tuple[int, int] | None = None
    failure: Failure = ""
    why: str = ""
    may_pass: bool = False
    pause_s: float = 0.0
    is_same_for_all: bool = False


def from_body(body: str, label: str) -> Attempt:
    """What a reply with status 200 is; half a JSON may be a whole one the next time."""
    try:
        read = read_completion(body, label)
    except BadInput as error:
        return Attempt("failed", failure="failed", why=str(error), may_pass=True)
    if read.refusal:
        why = f"the model refused: {quote(read.refusal, _QUOTED_CHARACTERS)}"
        return Attempt("refused", usage=read.usage, failure="refused", why=why)
    if not is_whole(read.text):
        return _torn(read)
    return Attempt("ok", read.text, read.label_probability, read.usage)


def _torn(read: Completion) -> Attempt:
    why = "the reply holds no whole JSON object"
    if read.is_cut:
        # The same again would be cut again.
        why = "the reply is longer than max_reply_tokens"
    return Attempt("unparsed", read.text, None, read.usage, why=why, may_pass=not read.is_cut)


def from_connection(error: "openai.APIConnectionError", timeout_s: float) -> Attempt:
    """What a connection is that was not made, broke, or brought nothing for too long.

    What a server did whose answer was lost is not known, and so charged at its most.
    """
    cause = error.__cause__ or error
    usage = (0, 0) if type(cause).__name__ in _NEVER_SENT else None
    why = f"the server was silent for {timeout_s:g} s"
    if "Timeout" not in type(cause).__name__:
        why = f"the connection failed: {type(cause).__name__}"
    return Attempt("failed", usage=usage, failure="failed", why=why, may_pass=True)


def from_status(error: "openai.APIStatusError", secret: str | None) -> Attempt:
    """What a reply with another status than 200 is; `secret` is kept out of what is said."""
    status, said = error.status_code, _sentence(error)
    said = quote(said.replace(secret, "…") if secret else said, _QUOTED_CHARACTERS)
    no_tokens = (0, 0)
    code = f"{error.code} {error.type} {said}".lower()
    if "content_filter" in code or "content management policy" in code:
        return Attempt("refused", usage=no_tokens, failure="refused", why=f"refused: {said}")
    if status == 413 or "context_length" in code or "maximum context" in code:
        return Attempt("failed", usage=no_tokens, failure="too_long", why=said)
    why = f"the server answered {status}: {said}"
    if (status in _PASSING or status >= 500) and "insufficient_quota" not in code:
        pause_s = pause_of(error.response.headers, datetime.now(UTC))
        if pause_s <= LONGEST_PAUSE_S:
            return _failed(why, may_pass=True, pause_s=pause_s)
        return _failed(f"{why}; it asks to wait for {pause_s:.0f} s", is_same_for_all=True)
    remedy = _remedy(f"{error.param} {said}") if status in (400, 422) else ""
    return _failed(why + remedy, is_same_for_all=status in _SAME_FOR_ALL)


def pause_of(headers: Mapping[str, str], at: datetime) -> float:
    """Seconds to wait before the next request, as the headers of a reply ask; 0 where they do not.

    `retry-after-ms` goes before `Retry-After`, which is seconds or a date. A date is held against
    the server's own clock, where it sends its `Date`.
    """
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit_s
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    until, sent = _date_of(headers.get("retry-after")), _date_of(headers.get("date"))
    return max(0.0, (until - (sent or at)).total_seconds()) if until else 0.0


def wait_s(attempt: int, pause_s: float) -> float:
    """Seconds before the attempt after this one (counted from 0): twice as long each time.

    Half of it is left to chance, so that those who failed together do not come back together; and
    it is never less than the pause that the server asked for.
    """
    backoff = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**attempt)
    return pause_s + backoff * (0.5 + 0.5 * random.random())


def _failed(
    why: str, may_pass: bool = False, pause_s: float = 0.0, is_same_for_all: bool = False
) -> Attempt:
    """A request that the server turned down, and so does not charge for."""
    return Attempt("failed", "", None, (0, 0), "failed", why, may_pass, pause_s, is_same_for_all)


def _remedy(said: str) -> str:
    """What to change where a parameter was rejected; of several, that which stands first above."""
    changes = (change for named, change in _REMEDIES if named in said)
    change = next(changes, "")
    return f"; set {change} for this judge" if change else ""


def _sentence(error: "openai.APIStatusError") -> str:
    """What the server says is wrong, wherever in its reply it says so."""
    body: object = error.body
    for _ in range(3):
        if not isinstance(body, Mapping):
            break
        body = body.get("message") or body.get("error") or body.get("detail") or json.dumps(body)
    return str(body) if body else error.response.reason_phrase


def _date_of(header: str | None) -> datetime | None:
    try:
        when = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
