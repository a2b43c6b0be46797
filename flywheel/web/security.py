"""What every request must pass and every answer carries, whatever page it is for.

ASGI messages in, ASGI messages out; the one idea is that a page cannot forget any of it. Everything
that a trace brought is hostile, so that a browser is told to run, load and send nothing else than
our own files.
"""

import ipaddress
import re
import secrets
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import PlainTextResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flywheel.errors import BadSetting

# A correction may hold a whole message, and the longest that was seen is 5 MB.
MAX_BODY_BYTES = 32 << 20
# Who is not signed in sends a name and a password; to take a form apart costs a hundred times it.
MAX_STRANGERS_BODY_BYTES = 256 << 10
# A corrected message has three for each of its tool calls.
MAX_FORM_FIELDS = 20_000
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{7,63}")
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With `no-referrer` a browser would hide the Origin of our own forms, which sign-in looks at.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Gives every request a number and every answer its headers, and refuses what nobody means.

    That is a request for a name that is not in `hosts` (a foreign name that was pointed at this
    machine, or a missing `web.public_url`), and an address with a NUL.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str]):
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = Headers(scope=scope).get("x-request-id", "")
        # An application may number its requests itself; what it says stands in logs.
        request_id = sent if _REQUEST_ID.fullmatch(sent) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(answer_headers(request_id))
                headers.setdefault("Cache-Control", _caching(scope, message["status"]))
            await send(message)

        app = self.app
        if obstacle := self._obstacle(scope):
            app = PlainTextResponse(f"{obstacle}\n", 400)
        await app(scope, receive, send_with_headers)

    def _obstacle(self, scope: Scope) -> str | None:
        host = _HOST.fullmatch(Headers(scope=scope).get("host", "").lower())
        if host is None or host["name"] not in self.hosts:
            return "This server has another name; web.public_url says by which address people come."
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            # Postgres has no text with a NUL in it, so that nothing can have such a name.
            return "An address holds no NUL character."
        return None


class BodyLimit:
    """Cuts a body off where it is longer than anybody's is; `is_known` says whose may be long."""

    def __init__(self, app: ASGIApp, is_known: Callable[[HTTPConnection], bool]):
        self._known = RequestBodyLimitMiddleware(app, MAX_BODY_BYTES)
        self._stranger = RequestBodyLimitMiddleware(app, MAX_STRANGERS_BODY_BYTES)
        self._is_known = is_known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        is_known = scope["type"] != "http" or self._is_known(HTTPConnection(scope))
        await (self._known if is_known else self._stranger)(scope, receive, send)


def answer_headers(request_id: str) -> dict[str, str]:
    """The headers of every answer, with the number by which the log knows its request."""
    return {**HEADERS, "X-Request-Id": request_id}


def _caching(scope: Scope, status: int) -> str:
    if not scope["path"].startswith("/static/"):
        return "no-store"
    is_versioned = scope["query_string"].startswith(b"v=") and status in (200, 304)
    return "public, max-age=31536000, immutable" if is_versioned else "no-cache"


def is_loopback(host: str) -> bool:
    """Whether a server that listens on `host` hears nobody but this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_heard_by_others(host: str, public_url: str) -> bool:
    """Whether anybody but this machine can ask: it listens for them, or a proxy before it does."""
    public = urlsplit(public_url).hostname
    return not is_loopback(host) or (public is not None and not is_loopback(public))


def check_public_url(public_url: str) -> None:
    """Raise BadSetting where `web.public_url` is given and is no address of a web page."""
    try:
        parts = urlsplit(public_url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_address = False
    if public_url and not is_address:
        raise BadSetting(
            f"web.public_url is {public_url!r}; write it as https://flywheel.example.com"
        )


def known_hosts(host: str, public_url: str) -> frozenset[str]:
    """The names under which the pages may be asked for: loopback, what it listens on, its URL's."""
    names = {*LOOPBACK_NAMES, host, urlsplit(public_url).hostname or ""}
    return frozenset(f"[{name}]" if ":" in name else name for name in names if name)


def address_of(request: Request) -> str:
    """Where a request comes from; of an IPv6 address the network, which is one subscriber's."""
    host = request.client.host if request.client else "unknown"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:80]
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def is_from_elsewhere(request: Request, public_url: str) -> bool:
    """Whether a browser says that another site's page sent this request.

    For forms that nobody is signed in for yet. A program sends neither header, and has no cookies
    that somebody could misuse.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    if origin is None:
        return False
    ours = {request.headers.get("host"), urlsplit(public_url).netloc}
    # Anything may stand there, such as `null`, and need not be an address.
    return origin.partition("://")[2] not in ours - {"", None}
