"""Packs of trace documents without those who must go: their bytes become zeros.

A pack in, a pack of the same length out; the one idea is that all other documents stay where they
are, byte for byte. A pack is read from its first frame to its last, so that a document that the
ledger does not know is found as well.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import zstandard

_BLOCK = 1 << 16
# What a header says of its trace, and no page of messages or spans does.
_OF_A_HEADER = {"trace_id", "content_hash", "session_id", "split", "n_messages"}


def documents_in(pack: Path) -> Iterator[tuple[str, int, int]]:
    """Trace, first byte and end of each document: its frames, of which the header is the last."""
    first: int | None = None
    for start, end, content in _frames(pack):
        first = start if first is None else first
        trace_id = _trace_of(content)
        if trace_id is not None:
            yield trace_id, first, end
            first = None


def blank_documents(pack: Path, target: Path, traces: set[str]) -> tuple[int, int]:
    """Write the pack to `target` with zeros for these traces; how many went, and how many stay."""
    places = [(start, end, trace in traces) for trace, start, end in documents_in(pack)]
    gone = [(start, end) for start, end, must_go in places if must_go]
    shutil.copyfile(pack, target)
    with target.open("r+b") as file:
        for start, end in gone:
            file.seek(start)
            file.write(bytes(end - start))
    return len(gone), len(places) - len(gone)


def _frames(pack: Path) -> Iterator[tuple[int, int, bytes]]:
    """Where each frame starts and ends, and what is in it; zeros between frames are passed over."""
    position, size = 0, pack.stat().st_size
    with pack.open("rb") as file:
        while position < size:
            file.seek(position)
            block = file.read(_BLOCK)
            if block[0] == 0:
                position += len(block) - len(block.lstrip(b"\0"))
                continue
            unpacking, plain, end = zstandard.ZstdDecompressor().decompressobj(), [], position
            while block and not unpacking.eof:
                plain.append(unpacking.decompress(block))
                end += len(block)
                block = b"" if unpacking.eof else file.read(_BLOCK)
            end -= len(unpacking.unused_data)
            yield position, end, b"".join(plain)
            position = end


def _trace_of(content: bytes) -> str | None:
    """The trace of a header; None for a page of messages or of spans."""
    if b'"content_hash"' not in content:
        return None
    found = json.loads(content)
    first = found[0] if isinstance(found, list) and found else None
    is_header = isinstance(first, dict) and first.keys() >= _OF_A_HEADER
    return str(first["trace_id"]) if is_header and isinstance(first, dict) else None
