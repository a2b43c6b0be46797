"""A product's processes as one group: what they used, what they held, and how they are ended."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

# Seconds that a server may take to start: Phoenix took 125 here, and machines can be busier.
START_S = 900.0
# An idle server uses a percent or two of a core.
SETTLED_CPU_S, SETTLE_EVERY_S = 0.15, 3.0
# Looking at every process of the machine costs the watcher some milliseconds.
WATCH_EVERY_S = 2.0


class Group:
    """A server and whatever it starts, in a process group of its own."""

    def __init__(self, command: Sequence[str], url: str, environment: Mapping[str, str]):
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            process_group=0,
        )
        self.peak_mb = 0.0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        deadline = time.monotonic() + START_S
        while not answers(url):
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self.said()
                self.end(signal.SIGKILL)
                raise AssertionError(f"it does not answer: {said}")
            time.sleep(0.5)

    @property
    def number(self) -> int:
        """The id of the group."""
        return self.process.pid

    def said(self) -> str:
        """The last that it wrote."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-1500:]

    def cpu_s(self) -> float:
        """CPU seconds of every process of the group that still runs."""
        total = 0
        for fields in self._fields():
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def settled_cpu_s(self) -> float:
        """The same, once nothing is being worked on any more."""
        before = self.cpu_s()
        while True:
            time.sleep(SETTLE_EVERY_S)
            after = self.cpu_s()
            if after - before < SETTLED_CPU_S:
                return after
            before = after

    def end(self, by: signal.Signals = signal.SIGTERM) -> None:
        """End every process of the group."""
        self._over.set()
        self._watcher.join()
        if self._fields():
            os.killpg(self.number, by)
        deadline = time.monotonic() + 30
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        while self._fields() and time.monotonic() < deadline:
            time.sleep(0.1)
        if self._fields():
            os.killpg(self.number, signal.SIGKILL)
            self.process.wait(30)
        self.log.close()

    def _watch(self) -> None:
        """Keep the most memory that the group held, shared pages counted once."""
        while not self._over.wait(WATCH_EVERY_S):
            held = 0
            for path in Path("/proc").glob("[0-9]*"):
                if _group_of(path) == self.number:
                    held += _pss_kb(path)
            self.peak_mb = max(self.peak_mb, held / 1024)

    def _fields(self) -> list[list[str]]:
        found = [_stat(path) for path in Path("/proc").glob("[0-9]*")]
        return [one for one in found if one and int(one[2]) == self.number and one[0] != "Z"]


def _stat(path: Path) -> list[str]:
    try:
        return (path / "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def _group_of(path: Path) -> int:
    fields = _stat(path)
    return int(fields[2]) if fields else 0


def _pss_kb(path: Path) -> int:
    try:
        lines = (path / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def answers(url: str) -> bool:
    """Whether somebody listens."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code < 500
    except httpx.TransportError:
        return False


def disk_bytes(folder: Path) -> int:
    """Bytes of every file under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
