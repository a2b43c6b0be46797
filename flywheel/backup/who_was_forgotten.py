"""Who was forgotten, from a backup and from since: one file of tombstones, and nobody is let back.

Folders with tombstones in, their union beside the project's settings out.
"""

import os
from pathlib import Path

from flywheel.errors import Refused
from flywheel.store.artifacts import sync_folder
from flywheel.store.tombstones import KEY, TOMBSTONES, Tombstones


def merge_tombstones(folder: Path, *sources: Path | None) -> int:
    """Add the tombstones of `sources` to those in `folder`; how many lines stand there then.

    Raises Refused where two of them were made with different keys: nobody could tell who is meant.
    """
    places = [place for place in (folder, *sources) if place is not None and _has_any(place)]
    if not places:
        return 0
    for place in places:
        # Reads them, and says what is wrong with them.
        Tombstones(place, place / "unused.lock").lines()
    keys = {(place / KEY).read_text(encoding="utf-8").strip() for place in places}
    if len(keys) > 1:
        raise Refused(
            f"the tombstones in {' and '.join(map(str, places))} have different keys, so nobody "
            f"can tell who was forgotten; keep the right {TOMBSTONES} and {KEY} in {folder}"
        )
    lines = dict.fromkeys(line for place in places for line in _lines(place / TOMBSTONES))
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / KEY, keys.pop() + "\n")
    _write(folder / TOMBSTONES, "".join(f"{line}\n" for line in lines))
    return len(lines)


def _has_any(folder: Path) -> bool:
    return any(_lines(folder / TOMBSTONES))


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    # The last one may be cut off; who wrote it writes it again.
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [line for line in whole.split("\n") if line.strip()]


def _write(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.new")
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)
    sync_folder(path.parent)
