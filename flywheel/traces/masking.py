"""Lines of a file with masks, one by one: what is stored of a file that is imported.

A file of lines in, the same number of lines out; a line in which nothing is masked keeps its bytes,
and one that is no JSON is masked as the text that it is.
"""

import json
from pathlib import Path

from flywheel.redaction import Redactor
from flywheel.traces.lines import MAX_LINE_BYTES


def mask_lines(source: Path, target: Path, redactor: Redactor) -> None:
    """Write `source` to `target` with the masks of the settings."""
    with source.open("rb") as file, target.open("wb") as masked:
        # What is longer than any line that is read comes in pieces, and is rejected later.
        while line := file.readline(MAX_LINE_BYTES):
            masked.write(_masked(line, redactor))


def _masked(line: bytes, redactor: Redactor) -> bytes:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        text = line.decode("utf-8", "surrogateescape")
        return redactor.whole(text).encode("utf-8", "surrogateescape")
    masked = redactor.whole(row)
    if masked == row:
        return line
    end = b"\n" if line.endswith(b"\n") else b""
    return json.dumps(masked).encode() + end
