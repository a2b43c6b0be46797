"""How an encoder's transformer is run: in which numbers, in batches of how many tokens, and where.

Token counts in, batches out. A batch is as many texts of like length as fit a budget of tokens:
little of it is padding, its activations stay in a core's cache, and memory does not grow with the
longest text. In which numbers a model is run is part of its version, for other numbers give other
logits; batches are not, for they move a logit by rounding alone. Where a batch is read changes
nothing, for it is the same batch.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16"]
# Texts, or the token ids of each row.
Batch = tuple[Any, ...]
# A batch in, a float32 row of it for each of its rows out.
BatchReader = Callable[[Batch], NDArray[np.float32]]
# A batch, and what reads it in another process: it is sent there, and is compared and hashed here.
Job = tuple[BatchReader, Batch]


class Engine(Hashable, Protocol):
    """Where batches are read."""

    def reading(self, jobs: Iterable[Job]) -> AbstractContextManager[None]:
        """Within it these jobs will be asked for, in about this order."""

    def read(self, job: Job, here: BatchReader) -> NDArray[np.float32]:
        """What is made of the batch; `here` does it in this process."""


class LocalEngine:
    """Reads a batch in this process when it is asked for."""

    def reading(self, jobs: Iterable[Job]) -> AbstractContextManager[None]:
        """Nothing is done ahead; the jobs are not even looked at."""
        return nullcontext()

    def read(self, job: Job, here: BatchReader) -> NDArray[np.float32]:
        """Reads it."""
        return here(job[1])


LOCAL = LocalEngine()


class CpuTime:
    """The CPU seconds of this process, all threads, and of others while they read for it."""

    def __init__(self) -> None:
        self._elsewhere_s = 0.0

    def seconds(self) -> float:
        """Of both, since some moment in the past."""
        return time.process_time() + self._elsewhere_s

    def add(self, seconds: float) -> None:
        """Count what another process took."""
        self._elsewhere_s += seconds


CPU_TIME = CpuTime()

# Tokens of a batch and thread, padding included. MiniLM read most texts a CPU-second with these, of
# 256, 512, 1,024 and 4,096; with the last a third fewer.
_TOKENS_A_THREAD: dict[Precision, int] = {"float32": 512, "bfloat16": 1024}
# Off the CPU there is no cache to stay in; 16,384 tokens of MiniLM are 100 MB of activations.
_TOKENS_OFF_CPU = 16_384


@cache
def precision_here(wanted: Precision) -> Precision:
    """`wanted`, or float32 where this machine would be slower in it.

    bfloat16 pays on CPUs with tiles for it (AMX): without any instructions for it a product takes
    70 times as long as in float32, and with those of AVX-512 alone encoding still takes longer.
    """
    if wanted == "float32":
        return wanted
    import torch

    # Torch before 2.10 cannot say.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    has_tiles = bool(capabilities.get("amx_bf16")) and not torch.cuda.is_available()
    return "bfloat16" if has_tiles else "float32"


def version_in(version: str, precision: Precision) -> str:
    """A version's name when what it names is run in these numbers; float32 needs no word."""
    plain = version.removesuffix("-bfloat16")
    return plain if precision == "float32" else f"{plain}-{precision}"


def tokens_a_batch(weight: "torch.Tensor") -> int:
    """The budget of a batch for a model with such weights, in tokens with padding."""
    import torch

    if weight.device.type != "cpu":
        return _TOKENS_OFF_CPU
    precision: Precision = "bfloat16" if weight.dtype == torch.bfloat16 else "float32"
    return _TOKENS_A_THREAD[precision] * torch.get_num_threads()


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows in batches of like length, each of at most `budget` tokens or of one row; longest first.

    With the longest first, memory is at its most in the first batch.
    """
    batch: list[int] = []
    longest = 0
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * longest > budget:
            yield batch
            batch = []
        if not batch:
            longest = lengths[row]
        batch.append(row)
    if batch:
        yield batch
