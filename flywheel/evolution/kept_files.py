"""Files of the project that a proposal changes: written whole, and only where nobody else did.

A proposal in, a file under the project's folder out. The one idea is that what stands there has to
be what the proposal was made against: a file that a person changed meanwhile is left alone.
"""

import os
import stat
from pathlib import Path

from flywheel.errors import BadInput, Refused
from flywheel.store.artifacts import sync_folder


def read_kept(path: Path) -> str | None:
    """The text of a file with its ends of lines as they are; None where there is none.

    Raises BadInput where it is no UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path.name} is no UTF-8 text; save it as that") from error


def check_kept(path: Path, *expected: str | None) -> None:
    """Raise Refused where the file is none of the texts expected."""
    if read_kept(path) not in expected:
        raise Refused(
            f"{path.name} was changed after the proposal was made; propose it again against the "
            "file as it is now"
        )


def write_kept(path: Path, text: str | None) -> None:
    """Make the file this text, in one move; take it away where the text is None.

    Who may read a file that was there may read it still; a link leads where it led.
    """
    if text is None:
        path.unlink(missing_ok=True)
    else:
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        with part.open("wb") as file:
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    if path.parent.exists():
        sync_folder(path.parent)
