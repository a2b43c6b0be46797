"""Whether a ledger in SQLite is whole: its pages, and the log beside it that a crash leaves.

A path in, a sentence or nothing out, and nothing is changed. The one idea is to look before anybody
opens the file: SQLite passes over the end of a log that it cannot read, and says nothing.

The log's format and its checksum: https://www.sqlite.org/walformat.html.
"""

import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

_HEADER, _FRAME = struct.Struct(">IIIIIIII"), struct.Struct(">IIIIII")
_MAGIC = 0x377F0682
_MASK = 0xFFFFFFFF


def damage_of(ledger: Path) -> str | None:
    """What is wrong with the file or with its log; None where nothing is seen."""
    log = ledger.with_name(ledger.name + "-wal")
    torn = torn_end(log.read_bytes()) if log.exists() else 0
    if torn:
        return (
            f"{log} is damaged or was not written to its end: {torn:,} of its last bytes cannot be "
            "read, and what they held is gone unless nobody was told that it was stored"
        )
    # An address of its own, since a path may hold what an address reads otherwise.
    with closing(sqlite3.connect(f"file:{quote(str(ledger))}?mode=ro", uri=True)) as raw:
        try:
            (said,) = raw.execute("pragma quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            said = str(error)
    return None if said == "ok" else f"{ledger} is damaged: {' '.join(said.split())}"


def torn_end(log: bytes) -> int:
    """Bytes at the end of a log that belong to it and to no transaction that can be read."""
    if len(log) < _HEADER.size:
        return len(log)
    magic, _, page_bytes, _, *salts, sum_1, sum_2 = _HEADER.unpack_from(log)
    order = ">" if magic & 1 else "<"
    sums = _checksum(log[:24], (0, 0), order)
    if magic & ~1 != _MAGIC or sums != (sum_1, sum_2):
        return len(log)
    size = _FRAME.size + page_bytes
    place = committed = _HEADER.size
    is_readable = True
    while place + _FRAME.size <= len(log):
        _, n_pages, *of_frame, sum_1, sum_2 = _FRAME.unpack_from(log, place)
        if of_frame != salts:
            # Left from before the log was begun anew.
            break
        page = log[place + _FRAME.size : place + size]
        if is_readable and len(page) == page_bytes:
            sums = _checksum(page, _checksum(log[place : place + 8], sums, order), order)
            is_readable = sums == (sum_1, sum_2)
        else:
            is_readable = False
        place += size
        if is_readable and n_pages:
            committed = place
    return min(place, len(log)) - committed


def _checksum(words: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = sums
    numbers = struct.unpack(f"{order}{len(words) // 4}I", words)
    for first, second in zip(numbers[::2], numbers[1::2], strict=True):
        one = (one + first + two) & _MASK
        two = (two + second + one) & _MASK
    return one, two
