"""The whole loop on the bundled sample: 300 conversations, a cold judge, people, a retrained judge.

A new project in, a table out: each tier before and after, on the holdout, with intervals, and what
the gate said. The sample is small on purpose, so a refusal is the outcome to expect.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import as_file, files
from pathlib import Path
from typing import Protocol

from flywheel.errors import BadInput
from flywheel.gate.holdout import TARGET, holdout_of
from flywheel.in_use import embedder_of, judge_of, levers_of
from flywheel.judge.evaluation import probabilities
from flywheel.judge.judge import Judge
from flywheel.loop import learn, run_day
from flywheel.queue import queued_traces
from flywheel.records import LabelledConversation, split_of
from flywheel.registry import alias_of
from flywheel.retraining import retrain
from flywheel.retrieval import update_indexes
from flywheel.review import import_decisions
from flywheel.settings import PROJECT_FILE
from flywheel.statistics import JudgeCard, auc_difference, judge_card
from flywheel.store import Project, open_project
from flywheel.traces.importing import days_with_traces, import_file
from flywheel.training.challenger import judge_in

SETTINGS = """# The demo's settings; see the README for all of them.
[project]
name = "flywheel-demo"
first_day = "2026-03-02"

[queue]
daily_items = 20
"""
COLUMNS = ("tier", "judge", "ROC AUC", "accuracy", "TPR", "TNR", "MCC")
_RATES = ("roc_auc", "accuracy", "tpr", "tnr", "mcc")


class Watcher(Protocol):
    """Who is shown how far the demo is."""

    def __call__(self, done: int, total: int) -> None:
        """Another step is done."""

    def say(self, what: str) -> None:
        """Another piece of work begins."""


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The table of the judges on the holdout, and the sentences that go with it."""

    columns: Sequence[str]
    table: list[tuple[str, ...]]
    sentences: list[str]


def run_demo(folder: Path, watcher: Watcher) -> DemoReport:
    """Make a project in `folder`, run every stage over the sample's days, retrain and gate.

    Raises BadInput where the folder already holds something else.
    """
    project = _new_project(folder)
    with as_file(files("flywheel.sample")) as sample:
        watcher.say("import")
        imported = import_file(project.stores, sample / "traces.jsonl")
        before = judge_of(project)
        _run_days(project, watcher, "cold judge")
        entered = _enter_decisions(project, sample / "decisions.jsonl")
    learned = learn(project)
    watcher.say("index")
    index = update_indexes(project.stores, embedder_of(project), levers_of(project))
    watcher.say("retrain and gate")
    verdict = retrain(project, watcher)
    challenger = alias_of(project.stores.ledger, TARGET, "challenger")
    after = (
        judge_in(project.stores, challenger.version, embedder_of(project)) if challenger else before
    )
    watcher.say("evaluate")
    holdout = holdout_of(project.stores, levers_of(project))
    table, differences = _compare(holdout, before, after)
    return DemoReport(
        COLUMNS,
        table,
        [
            f"{imported.new} conversations over {len(days_with_traces(project.stores))} days; "
            f"{entered} decisions entered, {learned.positives} of them perceived errors; "
            f"{index.total} in the index of corrections.",
            *differences,
            "Gate: " + " ".join(verdict.why),
            f"The project stands in {folder}, and the queue of its last day is open. Next: "
            f"cd {folder}; flywheel queue list; flywheel quality estimate; flywheel up",
        ],
    )


def _new_project(folder: Path) -> Project:
    if (folder / PROJECT_FILE).exists():
        raise BadInput(f"{folder} already holds a project; remove it, or name another with --dir")
    (folder / "metrics").mkdir(parents=True, exist_ok=True)
    (folder / PROJECT_FILE).write_text(SETTINGS, encoding="utf-8")
    return open_project(folder)


def _run_days(project: Project, watcher: Watcher, what: str) -> None:
    watcher.say(what)
    days = days_with_traces(project.stores)
    for number, day in enumerate(days):
        run_day(project, day)
        watcher(number + 1, len(days))


def _enter_decisions(project: Project, path: Path) -> int:
    """Decisions as they come with the sample: what the queue drew, and all of the holdout.

    The holdout's enter as audit decisions, since every one of its traces is taken. The last day's
    queue is left open: that is where whoever runs the demo goes on.
    """
    drawn = queued_traces(project.stores.ledger)
    rows = []
    owners = _owners(project)
    last_day = max(day for _, _, day in owners.values())
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        session_id, user_id, day = owners[row["trace_id"]]
        if split_of(session_id, user_id) == "holdout":
            rows.append(row | {"is_audit": True, "draw_probability": 1.0})
        elif row["trace_id"] in drawn and day < last_day:
            rows.append(row)
    chosen = project.data_dir / "demo-decisions.jsonl"
    chosen.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return import_decisions(project.stores, chosen).new


def _owners(project: Project) -> dict[str, tuple[str, str | None, date]]:
    with project.stores.warehouse.read() as connection:
        rows = connection.run("traces/owners").fetchall()
    return {trace_id: (session_id, user_id, day) for trace_id, session_id, user_id, day in rows}


def _compare(
    holdout: Sequence[LabelledConversation], before: Judge, after: Judge
) -> tuple[list[tuple[str, ...]], list[str]]:
    table: list[tuple[str, ...]] = []
    sentences: list[str] = []
    truth, groups = [row.perceived_error for row in holdout], [row.group for row in holdout]
    old = probabilities(before, before.best, holdout)
    for name, judge in (("before", before), ("after", after)):
        for tier in judge.models:
            given = probabilities(judge, tier, holdout)
            best = " *" if tier == judge.best else ""
            card = judge_card(truth, given.tolist(), groups)
            table.append((tier + best, name, *_rates(card)))
            if name == "after":
                gain = auc_difference(truth, old.tolist(), given.tolist(), groups)
                sentences.append(
                    f"ROC AUC of {tier}, after, minus {before.best}, before: "
                    f"{gain.estimate:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]."
                )
    return table, [
        f"Holdout: {len(holdout)} conversations, {sum(truth)} of them perceived errors; intervals "
        "are 95 %, by user; * marks the tier that a judge goes by.",
        *sentences,
    ]


def _rates(card: JudgeCard) -> list[str]:
    shown = [card.rates[name] for name in _RATES]
    return [f"{r.estimate:.2f} [{r.low:.2f}, {r.high:.2f}]" for r in shown]
