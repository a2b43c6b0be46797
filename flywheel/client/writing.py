"""JSON of whatever an application says, as one line; objects describe themselves.

Objects of an application in, bytes out, or one of `UNWRITABLE` raised.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime

# What making JSON of an application's own objects can raise.
UNWRITABLE = (
    *(TypeError, ValueError, AttributeError, LookupError, RuntimeError, OSError),
    *(ArithmeticError, AssertionError),
)


def line_of(said: Mapping[str, object]) -> bytes:
    """One line of JSON: objects as they describe themselves, and null for what JSON has not."""
    try:
        text = json.dumps(said, default=_plain, allow_nan=False, ensure_ascii=False)
    except ValueError:
        loose = json.dumps(said, default=_plain)
        text = json.dumps(json.loads(loose, parse_constant=lambda _: None), ensure_ascii=False)
    # Half a character would be refused.
    return text.encode("utf-8", "replace")


def _plain(value: object) -> object:
    """What stands for an object that JSON does not know."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_none=True)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        # A time without a zone is the machine's.
        return value.astimezone(UTC).isoformat()
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    return repr(value)


def now_in_words() -> str:
    """The present, in UTC."""
    return datetime.now(UTC).isoformat()
