"""Batches read by Ray Data, in other processes of this machine or of a cluster.

Jobs in, vectors out. The one idea is that nothing is decided there: a worker is given the very
batch that would have been read here, with as many threads, and what it made is used only where that
batch is asked for, so that rows are the same to the bit. A batch that no worker was given is read
here. Ray runs a task again whose process died.
"""

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from flywheel.errors import BadSetting, TryAgain
from flywheel.models.engine import CPU_TIME, LOCAL, BatchReader, Engine, Job
from flywheel.settings import ComputeSettings

# Fewer are read here. A batch takes .1 to .2 s of a core; Ray some 10 s to start.
LEAST = 200
# A second or so of a core: what a killed worker costs, and far more than Ray's say in a task.
_BATCHES_A_TASK = 8
# Vectors that wait to be fetched; 256 MB are 170,000 of MiniLM's.
_OBJECT_STORE = 256 * 2**20
# Read by Ray when it is imported. The second lets it listen on loopback alone, on Linux too; by the
# third a worker sees the GPUs that this process sees, which is what Ray is about to do by itself.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

Vectors = NDArray[np.float32]


@lru_cache(maxsize=4)
def _ray_engine(address: str, workers: int, threads: int) -> "RayEngine":
    return RayEngine(address, workers, threads)


def engine_of(compute: ComputeSettings) -> Engine:
    """The engine that the settings name; the same object for the whole process.

    Raises BadSetting where it is not installed.
    """
    if compute.engine == "local":
        return LOCAL
    if find_spec("ray") is None:
        raise BadSetting("compute.engine is ray; run `pip install 'flywheel-loop[ray]'`")
    return _ray_engine(compute.ray_address, compute.ray_workers, compute.threads)


class RayEngine:
    """Ray Data over the batches of a stage: one map of tasks, whose processes keep their model.

    `least` batches make a map; below that they are read here.
    """

    def __init__(self, address: str = "", workers: int = 0, threads: int = 1, least: int = LEAST):
        self.address = address
        self.workers = workers
        self.threads = threads
        self.least = least
        self._streams: list[_Stream] = []

    @contextmanager
    def reading(self, jobs: Iterable[Job]) -> Iterator[None]:
        """Within it these jobs are read by Ray, in about this order, from the first `read` on."""
        fresh = [
            job
            for job in dict.fromkeys(jobs)
            if not any(job in stream.waiting for stream in self._streams)
        ]
        if len(fresh) < self.least:
            yield
            return
        stream = _Stream(fresh, self._rows(fresh))
        self._streams.append(stream)
        try:
            yield
        finally:
            self._streams.remove(stream)
            stream.rows.close()

    def read(self, job: Job, here: BatchReader) -> Vectors:
        """What a worker made of the batch, waited for; where none was given it, `here` reads it.

        Raises TryAgain where Ray cannot be started or reached, or gave up.
        """
        for stream in self._streams:
            if job in stream.waiting:
                return stream.take(job)
        return here(job[1])

    def _rows(self, jobs: Sequence[Job]) -> Iterator[Mapping[str, Any]]:
        """What the workers made of the jobs, as it comes in; closed, they stop."""
        self._start()
        import ray.data

        readers = list(dict.fromkeys(reader for reader, _ in jobs))
        place = {reader: i for i, reader in enumerate(readers)}
        given = [
            {"number": number, "reader": place[reader], "batch": orjson.dumps(batch)}
            for number, (reader, batch) in enumerate(jobs)
        ]
        n_tasks = math.ceil(len(given) / _BATCHES_A_TASK)
        made = ray.data.from_items(given, override_num_blocks=n_tasks).map_batches(
            _read_batches,
            batch_size=None,
            fn_args=[readers],
            num_cpus=self.threads,
            compute=ray.data.TaskPoolStrategy(size=min(self.workers or n_tasks, n_tasks)),
        )
        try:
            yield from made.iter_rows()
        except ray.exceptions.RayError as error:
            raise TryAgain(f"Ray gave up: {str(error).splitlines()[0]}") from error

    def _start(self) -> None:
        if not self.address:
            os.environ.update(_QUIET)
        import ray.data

        if ray.is_initialized():
            return
        handler = signal.getsignal(signal.SIGTERM)
        cores = max(self.workers * self.threads or os.cpu_count() or 1, self.threads)
        own = {"num_cpus": cores, "object_store_memory": _OBJECT_STORE, "include_dashboard": False}
        try:
            ray.init(
                address=self.address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if self.address else own),
            )
        except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
            raise TryAgain(f"Ray did not start: {str(error).splitlines()[0]}") from error
        finally:
            # Ray takes the signal for itself, and this process has a use for it.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False


class _Stream:
    """A map under way: which of its jobs have not been asked for, and what came in before it was.

    `rows` is a generator.
    """

    def __init__(self, jobs: Sequence[Job], rows: Any):  # noqa: ANN401
        self.waiting = {job: number for number, job in enumerate(jobs)}
        self.rows = rows
        self._held: dict[int, Mapping[str, Any]] = {}

    def take(self, job: Job) -> Vectors:
        number = self.waiting.pop(job)
        while number not in self._held:
            row = next(self.rows)
            self._held[row["number"]] = row
        row = self._held.pop(number)
        CPU_TIME.add(row["cpu_s"])
        return np.frombuffer(row["vectors"], np.float32).reshape(row["n"], -1)


def _read_batches(
    given: Mapping[str, NDArray[Any]], readers: Sequence[BatchReader]
) -> dict[str, list[Any]]:
    """The batches of a task, each read by itself; runs in a worker."""
    made: dict[str, list[Any]] = {"number": [], "n": [], "cpu_s": [], "vectors": []}
    for number, reader, batch in zip(given["number"], given["reader"], given["batch"], strict=True):
        cpu = time.process_time()
        rows = orjson.loads(batch)
        vectors = np.ascontiguousarray(readers[int(reader)](tuple(rows)), np.float32)
        made["number"].append(int(number))
        made["n"].append(len(rows))
        made["cpu_s"].append(time.process_time() - cpu)
        made["vectors"].append(vectors.tobytes())
    return made
