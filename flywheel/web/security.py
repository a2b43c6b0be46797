"""What every request must pass and every answer carries, whatever page it is for.

ASGI messages in, ASGI messages out; the one idea is that a page cannot forget any of it. Everything
that a trace brought is hostile, so that a browser is told to run, load and send nothing else than
our own files.
"""

import ipaddress
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import PlainTextResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A correction may hold a whole message, and the longest that was seen is 5 MB.
MAX_BODY_BYTES = 32 << 20
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
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


class SecureHeaders:
    """Gives every request a number and every answer its headers; refuses an address with a NUL."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(answer_headers(request_id))
                headers.setdefault("Cache-Control", _caching(scope, message["status"]))
            await send(message)

        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            # Postgres has no text with a NUL in it, so that nothing can have such a name.
            refusal = PlainTextResponse("An address holds no NUL.\n", 400)
            await refusal(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)


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


def trusted_hosts(host: str, public_url: str) -> list[str]:
    """The names under which the pages may be asked for: loopback, what it listens on, its URL's.

    Any other name is an attack (a foreign name that was pointed at this machine) or a missing
    `web.public_url`.
    """
    names = [*LOOPBACK_NAMES, f"[{host}]" if ":" in host else host]
    public = urlsplit(public_url).hostname
    if public:
        names.append(f"[{public}]" if ":" in public else public)
    return names


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
    return urlsplit(origin).netloc not in ours - {"", None}
