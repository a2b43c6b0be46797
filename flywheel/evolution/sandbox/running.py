"""Runs a function that we did not write once, inside the walls, and says what came of it.

Code, a name and arguments in; a value, or a kind of failure and one sentence, out. The one idea is
that whatever the code does ends as a row: the time, the memory and the output of a run are bounded
from outside, and what it says is read as text of a stranger.
"""

import json
import os
import selectors
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO, Literal

from flywheel.evolution.sandbox.walls import NoSandbox, Python, filter_here, walls
from flywheel.safety import encodable, visible

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
# raised   the function raised; `error` names what and where
# ended    it left its process without an answer, or brought it down
# time     of the processor or of the clock; memory; output: more than it may
# answer   it answered nothing that is JSON
# refused  it was never run: the arguments are not what it takes
Failure = Literal["raised", "ended", "time", "memory", "output", "answer", "refused"]

_BLOCK = 1 << 16
_MAX_PRINTED = 2_000
_MAX_SAID = 500


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may take of the machine.

    `cpu_s` is of the processor and `wall_s` of the clock; `memory_mb` is of address space, of which
    Python takes some 20 MB before it begins.
    """

    cpu_s: int = 5
    wall_s: float = 30.0
    memory_mb: int = 512
    output_kb: int = 1024
    file_mb: int = 16


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one call; `value` counts where `failure` is None.

    `seconds` are of the clock, with the start of the sandbox; `printed` is cut to 2,000 characters.
    """

    value: Json
    failure: Failure | None
    error: str
    seconds: float
    printed: str = ""

    @property
    def is_good(self) -> bool:
        """Whether there is a value."""
        return self.failure is None


def run_code(
    code: str,
    name: str,
    arguments: Mapping[str, Json],
    limits: Limits | None = None,
    packages: Sequence[Path] = (),
    python: Python | None = None,
) -> Ran:
    """Call the function `name` of `code` with `arguments`, in a sandbox of its own.

    `packages` are folders and files that it may import. Raises NoSandbox where there is none;
    whatever the code does, it raises nothing else.
    """
    limits = limits or Limits()
    job = {
        **{"code": code, "name": name, "arguments": dict(arguments)},
        "limits": {
            **{"cpu_s": limits.cpu_s, "memory_mb": limits.memory_mb, "file_mb": limits.file_mb}
        },
    }
    began = monotonic()
    with _in_memory(filter_here()) as filter_fd, _in_memory(json.dumps(job).encode()) as job_fd:
        command = walls(python or Python.running(), packages, limits.file_mb, filter_fd)
        process = subprocess.Popen(
            command,
            env={},
            stdin=job_fd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[filter_fd],
        )
    with process:
        said, printed, over = _listen(process, limits, began)
    seconds = monotonic() - began
    shown = visible(printed.decode(errors="replace"))
    ready, is_ready, answer = said.partition(b"ready\n")
    if not over and (ready or not is_ready):
        raise NoSandbox(f"none could be made: {_last_line(shown) or 'it ended at once'}")
    value, failure, error = over or _judged(answer, process.returncode, limits)
    return Ran(value, failure, error, seconds, shown[:_MAX_PRINTED])


_Outcome = tuple[Json, Failure | None, str]


def _listen(
    process: subprocess.Popen[bytes], limits: Limits, began: float
) -> tuple[bytes, bytes, _Outcome | None]:
    """Both streams until they end; killed, with the reason, where it is too late or too much."""
    assert process.stdout
    assert process.stderr
    heard: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    over: _Outcome | None = None
    with selectors.DefaultSelector() as selector:
        for stream in heard:
            selector.register(stream, selectors.EVENT_READ, heard[stream])
        while selector.get_map() and over is None:
            left = began + limits.wall_s - monotonic()
            for key, _ in selector.select(max(left, 0)):
                block = os.read(key.fd, _BLOCK)
                key.data.extend(block)
                if not block:
                    selector.unregister(key.fileobj)
            if sum(map(len, heard.values())) > limits.output_kb << 10:
                over = (None, "output", f"writes more than {limits.output_kb:,} kB")
            elif left <= 0:
                over = (None, "time", f"takes longer than {limits.wall_s:g} s")
    if over:
        # Everything inside dies with it.
        process.kill()
    return bytes(heard[process.stdout]), bytes(heard[process.stderr]), over


def _judged(answer: bytes, returncode: int, limits: Limits) -> _Outcome:
    """What the answer says, and where there is none, what the end of the process says."""
    if not answer.strip():
        if returncode == 128 + signal.SIGXCPU or returncode == 128 + signal.SIGKILL:
            return None, "time", f"takes more than {limits.cpu_s} s of the processor"
        if returncode == 128 + signal.SIGXFSZ:
            return None, "output", f"writes a file of more than {limits.file_mb} MB"
        how = f"by signal {returncode - 128}" if returncode > 128 else f"with code {returncode}"
        return None, "ended", f"ends its process {how}, without an answer"
    try:
        found = json.loads(answer, parse_constant=_no_number)
        # Halves of surrogate pairs come as escapes, and could not be sent on; what is too large a
        # number is read as infinity.
        found = json.loads(
            encodable(json.dumps(found, ensure_ascii=False)), parse_constant=_no_number
        )
    except (ValueError, RecursionError):
        return None, "answer", "answers with something that is no JSON"
    if not isinstance(found, dict) or not ("value" in found or "error" in found):
        return None, "answer", "answers with something that is no answer"
    if "value" in found:
        return found["value"], None, ""
    return None, *_fault(found, limits)


def _fault(found: Mapping[str, Json], limits: Limits) -> tuple[Failure, str]:
    parts = (str(found.get(key) or "") for key in ("error", "said", "line"))
    kind, said, line = (visible(part)[:_MAX_SAID] for part in parts)
    if kind == "MemoryError":
        return "memory", f"needs more than {limits.memory_mb:,} MB of memory"
    where = f" in line {line}" if line else ""
    return "raised", f"{kind}{where}{': ' if said else ''}{said}"


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:_MAX_SAID] if lines else ""


@contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """A descriptor to read these bytes from, without a file."""
    with os.fdopen(os.memfd_create("flywheel"), "w+b") as file:
        file.write(content)
        file.seek(0)
        yield file.fileno()
