"""The examples of a causal training, frozen under a hash: gated, without doubles, with replay.

Decided traces of the warehouse in, one Parquet file and its examples out. The one idea is that a
training reads the file and nothing else; the holdout never enters, nor what is like it, and a
session that stands on both sides blocks the run.
"""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.judge.rubric import Rubric
from flywheel.records import Split
from flywheel.settings import TrainingSettings
from flywheel.store import Stores
from flywheel.store.warehouse import Connection
from flywheel.traces.conversations import InputLevers, read_traces
from flywheel.training.dataset import KIND, considered_in, holdout_texts, store_set
from flywheel.training.examples.example import ChatExample
from flywheel.training.examples.gates import gate_examples
from flywheel.training.examples.replay import with_replay
from flywheel.training.examples.replies import DecidedTrace, decided_traces, reply_examples
from flywheel.training.examples.verdicts import verdict_examples
from flywheel.training.likeness import screen
from flywheel.training.targets import Target

# A causal judge is calibrated afterwards, on labels that it has not learnt; replies are not.
_LEARNT: tuple[Split, ...] = ("train", "validation", "calibration")
_LEARNT_BY_JUDGES: tuple[Split, ...] = ("train", "validation")
_PRECEDENCE: tuple[Split, ...] = ("validation", "calibration", "train")

_ROWS = pa.schema(
    [
        ("example_id", pa.string()),
        ("correction_id", pa.string()),
        ("trace_id", pa.string()),
        ("app", pa.string()),
        ("group", pa.string()),
        ("split", pa.string()),
        ("grade", pa.float64()),
        ("source", pa.string()),
        ("generator", pa.string()),
        ("pair_id", pa.string()),
        ("decision_ids", pa.list_(pa.int64())),
        ("n_context", pa.int32()),
        ("messages", pa.string()),
        ("tools", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """A snapshot: `name` is its artifact, `content` the hash of its rows alone.

    `considered` are the decisions behind the labels, and `left_out` counts traces and examples that
    did not enter, by their reason.
    """

    name: str
    examples: tuple[ChatExample, ...]
    considered: list[str]
    content: str
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def correction_ids(self) -> list[str]:
        """The labels that they were made of."""
        return sorted({label_of(example) for example in self.examples})

    @property
    def train(self) -> list[ChatExample]:
        """What is learnt from."""
        return [example for example in self.examples if example.split != "validation"]

    @property
    def validation(self) -> list[ChatExample]:
        """What a learning rate and the end of a training are chosen by."""
        return [example for example in self.examples if example.split == "validation"]

    @property
    def learnt(self) -> dict[int, str]:
        """The part of each decision behind an example; a correction is no negative."""
        found: dict[int, str] = {}
        for example in sorted(self.examples, key=lambda e: e.is_good):
            part = example.split if example.is_good else "negative"
            found |= dict.fromkeys(example.decision_ids, part)
        return found


def take_example_set(
    stores: Stores,
    target: Target,
    settings: TrainingSettings,
    levers: InputLevers,
    rubric: Rubric,
    known: Set[int] = frozenset(),
) -> ExampleSet:
    """Freeze what a causal target learns from the decisions that stand now.

    `known` are the decisions that its newest version considered. Raises Leak where a session or a
    user stands in the holdout and outside it.
    """
    splits = _LEARNT if target.kind == "app" else _LEARNT_BY_JUDGES
    with stores.warehouse.read() as connection:
        considered = considered_in(connection)
        held = holdout_texts(connection, InputLevers())
        traces = decided_traces(connection, splits, target.apps)
        traces, left_out = _screened(traces, held)
        made, none = _examples(connection, target, traces, levers, rubric)
    gated = gate_examples(
        [example for example in made if example.split != "validation"],
        settings.negatives_a_positive,
    )
    checks = gate_examples([e for e in made if e.split == "validation" and e.is_good], 0)
    replayed = with_replay(
        gated.kept, known, settings.max_examples, settings.replay_share, settings.seed
    )
    counts = [
        left_out,
        none,
        gated.left_out,
        {f"{why}, validation": n for why, n in checks.left_out.items()},
    ]
    if replayed.n_left_out:
        counts.append({"more than training.max_examples": replayed.n_left_out})
    examples = sorted([*replayed.kept, *checks.kept], key=lambda e: e.example_id)
    table = pa.Table.from_pylist([_row(example) for example in examples], schema=_ROWS)
    all_left = {why: n for count in counts for why, n in count.items()}
    return read_example_set(stores, store_set(stores, table, considered, all_left))


def read_example_set(stores: Stores, name: str) -> ExampleSet:
    """An example set as it was frozen."""
    table = pq.read_table(stores.artifacts.whole(KIND, name))
    about = table.schema.metadata or {}
    return ExampleSet(
        name,
        tuple(_example(row) for row in table.to_pylist()),
        json.loads(about[b"considered"]),
        about[b"content"].decode(),
        json.loads(about[b"left_out"]),
    )


def _examples(
    connection: Connection,
    target: Target,
    traces: Sequence[DecidedTrace],
    levers: InputLevers,
    rubric: Rubric,
) -> tuple[list[ChatExample], dict[str, int]]:
    if target.kind == "app":
        return reply_examples(traces)
    found = read_traces(connection, [trace.trace_id for trace in traces], levers)
    return verdict_examples(traces, {c.trace_id: c for c in found}, rubric)


def _screened(
    traces: Sequence[DecidedTrace], holdout: Sequence[str]
) -> tuple[list[DecidedTrace], dict[str, int]]:
    """Traces unlike the holdout and each other; people's labels and corrections go first."""
    order = sorted(
        traces,
        key=lambda t: (
            not t.decision_ids,
            t.corrected_turn is None,
            _PRECEDENCE.index(t.split),
            t.trace_id,
        ),
    )
    screened = screen([t.text for t in order], [t.perceived_error for t in order], holdout)
    return [order[i] for i in screened.kept], screened.left_out


def label_of(example: ChatExample) -> str:
    """The id of the label that an example was made of."""
    return example.example_id.rpartition("-")[0]


def _row(example: ChatExample) -> dict[str, Any]:
    return {
        "example_id": example.example_id,
        # What forgetting knows an example by.
        "correction_id": label_of(example),
        "trace_id": example.trace_id,
        "app": example.app,
        "group": example.group,
        "split": example.split,
        "grade": example.grade,
        "source": example.source,
        "generator": example.generator,
        "pair_id": example.pair_id,
        "decision_ids": list(example.decision_ids),
        "n_context": example.n_context,
        "messages": json.dumps(example.messages),
        "tools": json.dumps(example.tools),
    }


def _example(row: dict[str, Any]) -> ChatExample:
    return ChatExample(
        row["example_id"],
        tuple(json.loads(row["messages"])),
        row["n_context"],
        row["grade"],
        row["source"],
        row["generator"],
        row["app"],
        row["group"],
        row["split"],
        tuple(row["decision_ids"]),
        row["pair_id"],
        tuple(json.loads(row["tools"])),
        row["trace_id"],
    )
