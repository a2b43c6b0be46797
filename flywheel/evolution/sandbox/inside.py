"""The other side of `running`: calls one function once, inside the walls.

A script, given to a Python that finds nothing but its own library; it imports nothing of Flywheel.
Code and arguments come in as JSON, and one line of JSON goes out. What it says is as trustworthy as
the code that it ran, which shares its process: whoever reads it checks it.
"""

import json
import os
import resource
import sys
import types
from collections.abc import Callable
from functools import partial
from typing import Any

FILE = "function.py"
MIB = 1 << 20
MAX_SAID = 500


def limit(cpu_s: int, memory_mb: int, file_mb: int) -> None:
    """Take no more than this of processor, memory, files and descriptors."""
    for kind, most in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_mb * MIB),
        (resource.RLIMIT_FSIZE, file_mb * MIB),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        # Root is excused from this one; the filter of calls excuses nobody.
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(kind, (most, most))


def called(name: str, code: str, arguments: dict[str, Any]) -> object:
    """What the function of this name returns."""
    module = types.ModuleType("function")
    # A dataclass looks its module up.
    sys.modules["function"] = module
    exec(compile(code, FILE, "exec"), module.__dict__)
    function: Callable[..., object] = module.__dict__[name]
    return function(**arguments)


def send(channel: int, answer: dict[str, object]) -> None:
    """Write an answer whole."""
    left = json.dumps(answer, allow_nan=False).encode() + b"\n"
    while left:
        left = left[os.write(channel, left) :]


def report(
    channel: int,
    kind: type[BaseException],
    error: BaseException,
    trace: types.TracebackType | None,
) -> None:
    """Send what went wrong, and in which line of the code."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    while trace:
        if trace.tb_frame.f_code.co_filename == FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    is_memory = issubclass(kind, MemoryError)
    said = "" if is_memory else str(error)[:MAX_SAID]
    send(channel, {"error": kind.__name__, "said": said, "line": line})


def main() -> None:
    """Read a job, and answer it."""
    # What the function prints goes where errors go.
    channel = os.dup(1)
    os.dup2(2, 1)
    sys.excepthook = partial(report, channel)
    job = json.load(sys.stdin)
    limit(**job.pop("limits"))
    os.write(channel, b"ready\n")
    send(channel, {"value": called(**job)})


if __name__ == "__main__":
    main()
