"""A place where SQL that we did not write can do no harm: a process with its own DuckDB.

A metric in, its answers out, as Arrow. Two locks, one inside the other: the connection of
`locked_down` refuses files, extensions and settings; the process around it is killed when its time
is over and cannot take more memory than it was given, whatever the SQL does.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

import pyarrow as pa

from flywheel.errors import BadMetric, TryAgain
from flywheel.metrics.metric import SqlMetric
from flywheel.store.queries import query

# A million answers with a reason each are some 150 MB.
MAX_REPLY_BYTES = 1 << 30
# Until the process has started and read its imports.
_START_S = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one metric may take of the machine for one day.

    The slowest bundled metric took 27 CPU-s and 1.9 GB for a million traces of six messages.
    """

    seconds: float = 300.0
    memory_mb: int = 4096
    threads: int = 1


class Sandbox:
    """Runs metrics over two Parquet files, in a process that reaches nothing else.

    One process serves all metrics of a `with` block, each on a fresh connection; where a metric
    brings it down, the next one gets another.
    """

    def __init__(self, traces: Path, messages: Path, limits: Limits):
        self.limits = limits
        self._terms = json.dumps(
            {
                "traces": str(traces),
                "messages": str(messages),
                "nodes": query("metrics_runs/nodes"),
                **asdict(limits),
            }
        )
        self._folder = f"{traces.parent}/"
        self._running: tuple[subprocess.Popen[bytes], Connection] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def answers(self, metric: SqlMetric, max_rows: int) -> pa.Table:
        """What the metric's SELECT returns: trace_id, value, is_no_number, label, reason,
        evidence_turn, in no order.

        Raises BadMetric where it is refused, fails, or takes more than it may, TryAgain where no
        process can be started.
        """
        channel = self._running[1] if self._running else self._start()
        try:
            job = {"tools": metric.tools, "labels": metric.labels, "max_rows": max_rows}
            channel.send_bytes(json.dumps(job | {"sql": metric.sql}).encode())
            if not channel.poll(self.limits.seconds):
                why = f"takes longer than {self.limits.seconds:g} s"
                self._end()
            elif not (why := channel.recv_bytes().decode()):
                with pa.ipc.open_stream(channel.recv_bytes(MAX_REPLY_BYTES)) as stream:
                    return stream.read_all()
        except (EOFError, ConnectionError):
            why = "brings its process down, most likely for want of memory"
            self._end()
        except OSError:
            why = f"returns more than {MAX_REPLY_BYTES >> 20:,} MB"
            self._end()
        raise BadMetric(metric.file, why.replace(self._folder, ""))

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        script = str(Path(__file__).with_name("locked_down.py"))
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", script, str(theirs.fileno()), self._terms],
                pass_fds=[theirs.fileno()],
                # Nothing of ours to be read: no variables, no streams, no folder.
                env={},
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._running = process, ours
        try:
            is_ready = ours.poll(_START_S) and ours.recv_bytes() == b""
        except EOFError:
            is_ready = False
        if not is_ready:
            self._end()
            raise TryAgain("the process that runs metrics did not start; run the command again")
        return ours

    def _end(self) -> None:
        if self._running is None:
            return
        process, channel = self._running
        self._running = None
        channel.close()
        process.kill()
        process.wait()
