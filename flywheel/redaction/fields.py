"""Fields: what becomes of a value by the name under which it stands.

A dotted path in, what is to be done with it out. `*` stands for any characters of the path, and a
glob may begin at any key: `user.email` is found in `metadata.user.email` and among the attributes
of a span.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from flywheel.errors import BadSetting

Action = Literal["off", "mask", "drop"]

_NOT_IN_A_MASK = re.compile("[^A-Z0-9]+")
_LONGEST_MASK = 40
_PATHS_REMEMBERED = 20_000


class Fields:
    """The globs of `privacy.fields`; the first that fits decides."""

    def __init__(self, actions: Mapping[str, Action]):
        """Raises BadSetting on a glob that fits everything, unless it leaves it alone."""
        for glob, action in actions.items():
            if not glob.strip("*.") and action != "off":
                raise BadSetting(f"privacy.fields: {glob!r} would {action} every field; name some")
        self._globs = [(_pattern(glob), action) for glob, action in actions.items()]
        self.action = lru_cache(maxsize=_PATHS_REMEMBERED)(self._action)

    def __bool__(self) -> bool:
        return bool(self._globs)

    def _action(self, path: str) -> Action | None:
        """What the settings say of the value at a path; None where they say nothing."""
        return next((action for glob, action in self._globs if glob.fullmatch(path)), None)


def mask_of(path: str) -> str:
    """The mask of a field: its last two names, such as `<USER_EMAIL>`."""
    name = _NOT_IN_A_MASK.sub("_", ".".join(path.split(".")[-2:]).upper()).strip("_")
    return f"<{name[-_LONGEST_MASK:].strip('_') or 'FIELD'}>"


def _pattern(glob: str) -> re.Pattern[str]:
    # Runs of stars are one star: two in a row take time with the square of the path.
    parts = re.split(r"\*+", glob)
    return re.compile(r"(?:.*\.)?" + ".*".join(map(re.escape, parts)), re.IGNORECASE | re.DOTALL)
