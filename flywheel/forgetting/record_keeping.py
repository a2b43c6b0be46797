"""What the orchestrator has kept of its runs, with pseudonyms in place of names.

The folder of the Dagster instance in; its SQLite files and the logs of runs out, in which ids of
traces, sessions and users that must go are replaced. Runs and their times stay as they were.
"""

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from flywheel.forgetting.ledger_rows import Pseudonym
from flywheel.store.ledger import BUSY_TIMEOUT_MS

_SQLITE = b"SQLite format 3\0"
_LOGS = {".out", ".err", ".log"}
# Alternatives in one pattern, and names too short to stand for anybody in a log.
_AT_ONCE, _SHORTEST = 500, 3


def rename_in_records(home: Path, names: set[str], pseudonym: Pseudonym) -> Counter[str]:
    """Replace these names below the folder `home`; how many rows and files changed."""
    n: Counter[str] = Counter()
    patterns = list(_patterns(names))
    if not home.is_dir() or not patterns:
        return n
    for path in sorted(p for p in home.rglob("*") if p.is_file()):
        if path.suffix in _LOGS:
            before = path.read_text(encoding="utf-8", errors="surrogateescape")
            after = _renamed(before, patterns, pseudonym)
            if after != before:
                path.write_text(after, encoding="utf-8", errors="surrogateescape")
                n["logs of runs"] += 1
        elif path.suffix not in (".db-wal", ".db-shm") and _is_sqlite(path):
            n["records of runs"] += _rename_in_database(path, patterns, pseudonym)
    return n


def _patterns(names: set[str]) -> Iterator[re.Pattern[str]]:
    ordered = sorted((name for name in names if len(name) >= _SHORTEST), key=len, reverse=True)
    for start in range(0, len(ordered), _AT_ONCE):
        words = "|".join(map(re.escape, ordered[start : start + _AT_ONCE]))
        yield re.compile(rf"(?<![\w-])(?:{words})(?![\w-])")


def _renamed(text: str, patterns: list[re.Pattern[str]], pseudonym: Pseudonym) -> str:
    for pattern in patterns:
        text = pattern.sub(lambda found: pseudonym(found[0]), text)
    return text


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _rename_in_database(path: Path, patterns: list[re.Pattern[str]], pseudonym: Pseudonym) -> int:
    n_changed = 0
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS}")
        tables = [
            name for (name,) in raw.execute("select name from sqlite_master where type='table'")
        ]
        for table in tables:
            columns = [row[1] for row in raw.execute(f'pragma table_info("{table}")')]
            for column in columns:
                found = raw.execute(
                    f'select rowid, "{column}" from "{table}" '  # noqa: S608
                    f"where typeof(\"{column}\") = 'text'"
                ).fetchall()
                for row, text in found:
                    after = _renamed(text, patterns, pseudonym)
                    if after != text:
                        raw.execute(
                            f'update "{table}" set "{column}" = ? where rowid = ?',  # noqa: S608
                            (after, row),
                        )
                        n_changed += 1
        if n_changed:
            raw.execute("vacuum")
            raw.execute("pragma wal_checkpoint(truncate)")
    return n_changed
