"""Commands of the product as processes that are forked from one that has loaded everything.

Each is a process of its own, with its own connections and locks, and is killed by its id. The
clock of one can be set ahead or back: the product asks `flywheel.store.ledger.now` what time it is.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from flywheel.store import ledger
from tests.served import Server

PATIENCE_S = 300.0
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.warm"])


class Forked:
    """A process that runs `call(*arguments)`; what it writes goes to `log`."""

    def __init__(
        self, call: Callable[..., object], arguments: Sequence[object], log: Path, skew_s: float = 0
    ):
        self._process = _CONTEXT.Process(target=_run, args=(call, arguments, log, skew_s))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.exitcode

    def send_signal(self, signal: int) -> None:
        """Nothing happens where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.join()

    def wait(self, timeout: float = PATIENCE_S) -> int:
        """Its exit code, when it has ended."""
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"process {self.pid} has not ended within {timeout:.0f} s"
        return code


class ForkedServer(Server):
    """The web app; `plant` is called in its process before it starts."""

    skew_s = 0.0
    plant: Callable[[], None] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def spawn(self, arguments: list[str]) -> Forked:  # type: ignore[override]
        return Forked(_serve, (arguments, self.plant), self.log, self.skew_s)


def command(folder: Path, log: Path, *arguments: str, skew_s: float = 0) -> Forked:
    """`flywheel --project FOLDER ...` as a process."""
    return Forked(_command, (["--project", str(folder), *arguments],), log, skew_s)


def _serve(arguments: list[str], plant: Callable[[], None] | None) -> None:
    from flywheel.web.__main__ import serve

    if plant:
        plant()
    serve(arguments)


def _command(arguments: list[str]) -> None:
    from flywheel.cli.main import main

    main(arguments)


def _run(
    call: Callable[..., object], arguments: Sequence[object], log: Path, skew_s: float
) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if skew_s:
        _set_clock(skew_s)
    call(*arguments)


def _set_clock(skew_s: float) -> None:
    true, shift = ledger.now, timedelta(seconds=skew_s)

    def skewed() -> object:
        return true() + shift

    for name, module in list(sys.modules.items()):
        if name.startswith("flywheel") and vars(module).get("now") is true:
            vars(module)["now"] = skewed
