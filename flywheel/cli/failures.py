"""What a command says where a disk or a database fails under it: one sentence, and what to do.

An exception of the system or of a driver in, a sentence out; the one idea is that a command may be
run again, because what it had finished is kept.
"""

import errno
from typing import TypeAlias

import duckdb
import sqlalchemy as sa

# Foreseen at the edge of the process alone: any statement and any file may meet them.
Failure: TypeAlias = OSError | duckdb.Error | sa.exc.DatabaseError
FAILURES = (
    OSError,
    duckdb.OperationalError,
    duckdb.FatalException,
    sa.exc.DatabaseError,
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_WORDS = ("disk is full", "No space left", "File too large", "disk I/O error")
# What is wrong with a statement and not with a database.
_OURS = (sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.DataError)


def failure_of(error: Failure) -> str | None:
    """The sentence; None where the fault is ours, and a traceback says more."""
    if isinstance(error, _OURS):
        return None
    why = " ".join(str(getattr(error, "orig", error)).splitlines()[:1])
    is_full = isinstance(error, OSError) and error.errno in _FULL
    if is_full or any(words in str(error) for words in _FULL_WORDS):
        return f"nothing more could be written ({why}); make room and run the command again"
    if isinstance(error, duckdb.Error):
        return (
            f"the warehouse cannot be used: {why}; if it is damaged, `flywheel warehouse rebuild` "
            "makes it again from the ledger and the artifacts"
        )
    if isinstance(error, sa.exc.DatabaseError):
        return f"the ledger cannot be used: {why}; `flywheel doctor` says more"
    return why
