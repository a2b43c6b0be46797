"""A check: what SQL cannot say of a text, as code of the product with a project's options.

The texts of one day in, answers out, in the shape of a metric's rows; the one idea is that a check
is its options, so that a file can name it and nobody's code is run but ours.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from operator import attrgetter

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from flywheel.errors import NeverWill
from flywheel.metrics.metric import Level, Node
from flywheel.store.warehouse import Connection

# A longer text is cut: time is bounded, and what is wrong with a text shows earlier.
MAX_CHARS = 20_000
_BATCH = 5_000


class CheckRefused(NeverWill):
    """A check that cannot be run at all, and what it would need."""


@dataclass(frozen=True, slots=True)
class Text:
    """What a node of a trace gave; `position` is that of its message."""

    trace_id: str
    position: int
    node: str
    content: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says of one text; `label` is None where it measures and does not judge."""

    value: float
    label: bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check says of a trace, or of the turn at `evidence_turn`."""

    trace_id: str
    finding: Finding
    evidence_turn: int | None


@dataclass(frozen=True, slots=True)
class DayView:
    """One day as a check sees it; `earlier` runs a named statement on the whole warehouse."""

    day: date
    connection: Connection
    earlier: Callable[..., pa.Table]
    threads: int

    def texts_by_trace(
        self, node: Node, share: float = 1.0, max_chars: int = MAX_CHARS
    ) -> Iterator[tuple[str, list[Text]]]:
        """The texts of a node, a trace at a time; `share` of the traces, by the sample's hash."""
        rows = self.connection.run(
            "metrics_runs/texts_of_node", node=node, share=share, max_chars=max_chars
        )
        batches = iter(lambda: rows.fetchmany(_BATCH), [])
        every = (Text(*row) for batch in batches for row in batch)
        for trace_id, texts in groupby(every, attrgetter("trace_id")):
            yield trace_id, list(texts)


class Check(BaseModel, ABC):
    """A check with its options, which are its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(1.0, gt=0, le=1, description="Of the traces, by the hash of the sample.")

    @abstractmethod
    def answers(self, view: DayView, node: Node, level: Level) -> Iterator[Answer]:
        """One answer a trace or turn that it can speak of; the others have no value.

        Raises CheckRefused where it cannot be run at all.
        """


class TextCheck(Check):
    """A check of one text after the other; of a trace, the text with the highest value counts."""

    @abstractmethod
    def finding(self, text: str) -> Finding | None:
        """What there is to say of a text; None where nothing can be said."""

    def prepare(self) -> None:
        """Load what is needed before the first text; raises CheckRefused where it is missing."""

    def answers(self, view: DayView, node: Node, level: Level) -> Iterator[Answer]:
        """See `Check`."""
        self.prepare()
        for trace_id, texts in view.texts_by_trace(node, self.share):
            found = [
                Answer(trace_id, finding, text.position)
                for text in texts
                if (finding := self.finding(text.content)) is not None
            ]
            if level == "turn":
                yield from found
            elif found:
                yield max(found, key=lambda answer: answer.finding.value)
