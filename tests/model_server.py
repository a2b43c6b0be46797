"""`transformers serve` with SmolLM2: a real OpenAI-compatible server, on a loopback port.

What it does not do, and says only in its log: it overlooks `response_format`, `logprobs` and
`top_logprobs`; and at temperature 1 it gives the likeliest reply all the same, since the model's
own configuration does not sample. The name of its model is the folder that it was started with,
and `/v1/models` fails where there is no cache of the hub.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from flywheel.models import smollm2
from tests.served import HOST, free_port

# Seconds; the imports of a start take twenty on a busy machine.
PATIENCE_S = 300.0


@dataclass(frozen=True)
class ModelServer:
    """Where it listens, and what it calls its model."""

    url: str
    model: str


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """A running server for as long as the block runs; it is ended by its process id."""
    folder, port = str(smollm2.checked_folder()), free_port()
    program = Path(sys.executable).with_name("transformers")
    command = [str(program), "serve", folder, "--host", HOST, "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--device", "cpu", "--dtype", "float32"],
            env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not _is_ready(port):
                log.seek(0)
                said = log.read().decode(errors="replace")[-2000:]
                assert process.poll() is None, f"it ended: {said}"
                assert time.monotonic() < deadline, f"it does not answer: {said}"
                time.sleep(0.2)
            yield ModelServer(f"http://{HOST}:{port}/v1", folder)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://{HOST}:{port}/health", timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False
