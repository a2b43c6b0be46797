"""Values of an exported row, as strictly as each deserves: what other tools wrote, typed.

JSON values in, typed ones out. The one idea is that what names a row (its ids and times) must be
right or the row is rejected, whereas anything else that is not what it should be stays behind
in the metadata and costs the row nothing.
"""

import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import cast

from flywheel.errors import BadInput
from flywheel.traces.feedback import FeedbackSource
from flywheel.traces.spans.json_values import json_in, json_text
from flywheel.traces.spans.messages import messages_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# The largest integer of a column: a greater one is no count, and no time.
_MOST = 2**63 - 1
# Seconds, milli-, micro- and nanoseconds since 1970 are told apart by their size, which holds from
# 1973 to the year 5138.
_UNITS = ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3), (math.inf, 1))
_NUMBER = re.compile(r"\d{9,19}(\.\d+)?")
# Names that applications give to what their users say, in the examples of the tools' manuals.
_USERS_WORDS = re.compile(r"user|customer|feedback|thumb|csat", re.IGNORECASE)


def text(value: object) -> str | None:
    """A text that is not empty; a number becomes one, anything nested is none."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd") or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def identifier(row: Mapping[str, object], *names: str) -> str:
    """The first of these keys that holds an id; raises BadInput where none does."""
    for name in names:
        if row.get(name) is not None:
            if found := text(row[name]):
                return found
            raise BadInput(f"its {name} is no id")
    raise BadInput(f"has no {' or '.join(names)}")


def unpacked(value: object) -> object:
    """A JSON object or list that came as text, as in a table; anything else as it is."""
    return json_in(value) if isinstance(value, str) else value


def mapping(value: object) -> dict[str, object]:
    """The object that this is, or is the text of; empty for anything else."""
    found = unpacked(value)
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def objects(value: object) -> list[dict[str, object]]:
    """The objects of a list, or of the text of one."""
    found = unpacked(value)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def words(value: object) -> tuple[str, ...]:
    """The texts of a list, or of the text of one."""
    found = unpacked(value)
    return tuple(word for item in found if (word := text(item))) if isinstance(found, list) else ()


def nanoseconds(row: Mapping[str, object], *names: str) -> int | None:
    """The first of these keys that is not null, as nanoseconds since 1970.

    An ISO 8601 text, in UTC where it names no zone; or seconds since 1970 or a thousandth, a
    millionth of them and so on. Raises BadInput where it is neither.
    """
    for name in names:
        value = row.get(name)
        if value is not None and value != "":
            found = _nanoseconds(value)
            if found is None or not 0 <= found <= _MOST:
                raise BadInput(f"its {name} is no time: {str(value)[:40]!r}")
            return found
    return None


def moment(row: Mapping[str, object], *names: str) -> datetime | None:
    """`nanoseconds`, as a time in UTC to the microsecond."""
    found = nanoseconds(row, *names)
    return None if found is None else _EPOCH + found // 1000 * _MICROSECOND


def count(value: object) -> int | None:
    """A whole number above 0; a count of 0 is not known to be 0."""
    found = number(value)
    return int(found) if found is not None and 1 <= found < _MOST else None


def money(value: object) -> float | None:
    """An amount above 0, also as text; a cost of 0 is not known to be 0."""
    found = number(value)
    return found if found is not None and found > 0 else None


def number(value: object) -> float | None:
    """A finite number, also as text; a truth value is 1 or 0."""
    if value is None or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def rest(row: Mapping[str, object], taken: Collection[str]) -> dict[str, object]:
    """What no field took, without what is empty."""
    return {
        name: value
        for name, value in row.items()
        if name not in taken and value is not None and value not in ("", [], {})
    }


def answer_text(value: object) -> str | None:
    """A better answer as its text: of a text, a message, a list of them or an object around one."""
    found = unpacked(value)
    if isinstance(found, str) or found is None:
        return text(found)
    if isinstance(found, dict) and len(found) == 1:
        (only,) = found.values()
        if isinstance(only, str):
            return text(only)
    spoken = [message.get("content") for message in messages_of(found)]
    texts = [content for content in spoken if isinstance(content, str) and content]
    return texts[-1] if texts else json_text(found)


def source_by_name(name: str) -> FeedbackSource:
    """Who speaks in a score that a program sent: an end user if it is called so, else the code."""
    return "end_user" if _USERS_WORDS.search(name) else "code"


def _nanoseconds(value: object) -> int | None:
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            return None
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        return (found - _EPOCH) // _MICROSECOND * 1000
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    size = number(value)
    if size is None:
        return None
    unit = next(unit for limit, unit in _UNITS if abs(size) < limit)
    if isinstance(value, float) or (isinstance(value, str) and "." in value):
        return round(size * unit)
    return int(value) * unit
