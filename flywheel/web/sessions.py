"""Who is signed in, as a signed cookie; and the token that a form must carry besides.

A name and an epoch in, a cookie out, and back; the one idea is that the cookie holds no right. It
says who signed in and when, and each request asks the ledger whether that still counts.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fastapi import Response
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from flywheel.errors import BadSetting
from flywheel.store import Project
from flywheel.store.artifacts import sync_folder

COOKIE = "flywheel_session"
SECRET_FILE = "web.secret"
MIN_SECRET = 32
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody's sign-in: it counts while the user's epoch is `epoch` and nobody signed it out."""

    name: str
    epoch: int
    session_id: str
    since: datetime


class BadSession(Exception):
    """A cookie that is not ours, or was once; its text says which."""


class Sessions:
    """Makes cookies and reads them, with one secret."""

    def __init__(self, secret: str, days: float, is_https: bool):
        self._secret = secret.encode()
        self._serializer = URLSafeTimedSerializer(secret, salt="flywheel.session")
        self._max_age_s = round(days * _DAY_S)
        self._is_https = is_https

    def begin(self, response: Response, name: str, epoch: int) -> str:
        """Sign somebody in by a cookie in `response`; the id of the session."""
        session_id = secrets.token_urlsafe(16)
        response.set_cookie(
            COOKIE,
            str(self._serializer.dumps([name, epoch, session_id])),
            max_age=self._max_age_s,
            httponly=True,
            samesite="lax",
            secure=self._is_https,
        )
        return session_id

    def end(self, response: Response) -> None:
        """Have the browser forget the cookie."""
        response.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=self._is_https)

    def read(self, cookie: str) -> Session:
        """What a cookie says; raises BadSession where it is too old or not signed by us."""
        try:
            said, since = self._serializer.loads(
                cookie, max_age=self._max_age_s, return_timestamp=True
            )
        except SignatureExpired:
            raise BadSession("the session is too old") from None
        except BadSignature:
            raise BadSession("the cookie is not signed by this server") from None
        name, epoch, session_id = said
        return Session(name, epoch, session_id, since)

    def csrf(self, session_id: str) -> str:
        """The token that every form of this session carries."""
        return hmac.new(self._secret, b"csrf:" + session_id.encode(), hashlib.sha256).hexdigest()


def open_sessions(project: Project) -> Sessions:
    """The sessions of a project, signed with `web.secret` or the secret in its data folder.

    Raises BadSetting where `web.secret` is too short to be one.
    """
    web = project.settings.web
    if web.secret and len(web.secret) < MIN_SECRET:
        raise BadSetting(
            f"web.secret has {len(web.secret)} characters and needs {MIN_SECRET}; "
            "make one with `openssl rand -hex 32`, or leave it empty"
        )
    secret = web.secret or _kept_secret(project.data_dir / SECRET_FILE)
    return Sessions(secret, web.session_days, web.public_url.startswith("https://"))


def _kept_secret(path: Path) -> str:
    """The secret in `path`; made where there is none, whole or not at all, and for its owner."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Its mode is 0600 from the start.
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".secret-")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            # A link, unlike a rename, lets the first of two processes win.
            os.link(scratch, path)
            sync_folder(path.parent)
        except FileExistsError:
            pass
        finally:
            os.unlink(scratch)
    secret = path.read_text().strip()
    if len(secret) < MIN_SECRET:
        raise BadSetting(f"{path} holds no secret; remove it, and everybody signs in again")
    return secret
