"""Passwords: argon2id with the library's defaults, and what a password must be.

Text in, a hash or a yes out; the one idea is that checking costs 64 MB and a twentieth of a second
whether or not there is such a user, and that it is done one at a time.
"""

import secrets
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from flywheel.errors import BadInput, TryAgain

MIN_PASSWORD, MAX_PASSWORD = 12, 1_024
# Sign-ins under way at once; each holds one of the server's forty threads while it waits.
PLACES = 16

_hasher = PasswordHasher()
places = threading.BoundedSemaphore(PLACES)
_one_at_a_time = threading.Lock()


@contextmanager
def alone() -> Iterator[None]:
    """No other password is checked meanwhile; raises TryAgain where too many wait already."""
    if not places.acquire(blocking=False):
        raise TryAgain("too many people sign in at this moment; try again in a few seconds")
    try:
        with _one_at_a_time:
            yield
    finally:
        places.release()


def check_new_password(password: str) -> None:
    """Raise BadInput where a password is too short or too long to be one."""
    n = len(_normal(password))
    if not MIN_PASSWORD <= n <= MAX_PASSWORD:
        raise BadInput(
            f"a password has {MIN_PASSWORD} to {MAX_PASSWORD:,} characters; this one has {n:,}"
        )


def hash_password(password: str) -> str:
    """The hash of a new password, for the ledger; raises BadInput as `check_new_password`."""
    check_new_password(password)
    return _hasher.hash(_normal(password))


def is_password(password_hash: str | None, password: str) -> bool:
    """Whether the hash is this password's; takes as long where there is no hash."""
    if len(password) > MAX_PASSWORD:
        return False
    try:
        _hasher.verify(password_hash or nobodys_hash(), _normal(password))
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


def is_outdated(password_hash: str) -> bool:
    """Whether the hash was made with weaker parameters than are used now."""
    return _hasher.check_needs_rehash(password_hash)


@cache
def nobodys_hash() -> str:
    """The hash that is checked where a user has none; its password is known to nobody."""
    return _hasher.hash(secrets.token_hex(16))


def _normal(password: str) -> str:
    # Keyboards write the same letter in different ways.
    return unicodedata.normalize("NFKC", password)
