"""Work that this project's stages do, in a process of its own as the orchestrator runs them.

    python in_flywheel.py drain|metrics|judge PROJECT [N] [JUDGE_URL]

Prints one JSON line. The metrics are two SELECTs and the judge a rubric file, in the project's
folder `metrics/`, as its users write them.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

from flywheel.loop import score_rubrics
from flywheel.metrics import read_metrics, score_day_by_code
from flywheel.settings import PROJECT_FILE
from flywheel.store import Project, open_project
from flywheel.traces.draining import drain_and_load
from flywheel.traces.importing import days_with_traces
from flywheel.traces.sampling import sample_day

HEAD = """-- One row a trace with an answer: {what}.
-- name: {name}
-- level: trace
-- direction: neutral
-- owner: bench
-- review_due: 2030-01-01
select trace_id, {value} as value, '{what}' as reason, max(position) as evidence_turn
from messages where role = 'assistant' group by trace_id
"""
ANSWER = "arg_max(content, position)"
METRICS = {
    "answer_words": ("words", f"length(regexp_split_to_array(trim({ANSWER}), '\\s+'))"),
    "says_sorry": ("sorry", f"contains(lower({ANSWER}), 'sorry')::integer"),
}
RUBRIC = """---
name: objection
level: trace
direction: lower_is_better
owner: bench
review_due: 2030-01-01
sample: {n}
---
# Does the user object to an answer of the assistant?

Say **yes** where the user says that an answer is wrong, and **no** otherwise.
"""
JUDGE = """[judge]
generative = "stub"
generative_traces = {n}
[sampling]
rate = 1.0
[judges.stub]
model = "stub"
base_url = "{url}"
api_key_env = ""
concurrency = 8
"""


def main(work: str, folder: Path, n: int = 0, url: str = "") -> dict[str, object]:
    """Do it; what that cost this process and those that it started."""
    if work == "metrics":
        write_metrics(folder)
    elif work == "judge":
        write_judge(folder, n, url)
    project = open_project(folder)
    cpu, wall = cpu_s(), time.perf_counter()
    done = {"drain": drain, "metrics": metrics, "judge": judge}[work](project)
    figures = done | {
        "client_cpu_s": round(cpu_s() - cpu, 2),
        "wall_s": round(time.perf_counter() - wall, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    return figures | {"start_cpu_s": round(cpu, 2)}


def drain(project: Project) -> dict[str, object]:
    """Everything that waits, into the warehouse and onto the pages."""
    drained, _ = drain_and_load(project.stores, project.settings)
    return {"spans": drained.spans}


def metrics(project: Project) -> dict[str, object]:
    """The two metrics over every day."""
    mine = [one for one in read_metrics(project.metrics_dir)[0] if one.name in METRICS]
    reports = [
        one
        for day in days_with_traces(project.stores)
        for one in score_day_by_code(project.stores, mine, day)
    ]
    with project.stores.warehouse.open() as connection:
        sums = connection.raw.execute(
            "select metric, count(*), sum(value) from scores group by metric"
        ).fetchall()
    found = {str(name): (int(n), int(total)) for name, n, total in sums}
    return {
        "asked": sum(report.done for report in reports) // len(METRICS),
        **{f"n_{name}": found[name][0] for name in METRICS},
        "sorry": found["says_sorry"][1],
        "words": found["answer_words"][1],
    }


def judge(project: Project) -> dict[str, object]:
    """The rubric over the sample of every day."""
    done = 0
    for day in days_with_traces(project.stores):
        sample_day(project.stores, day, 1.0, project.settings.sampling.min_per_stratum)
        done += sum(report.done for report in score_rubrics(project, day))
    return {"asked": done, "n_objection": done}


def write_metrics(folder: Path) -> None:
    """The two metrics' files."""
    (folder / "metrics").mkdir(exist_ok=True)
    for name, (what, value) in METRICS.items():
        text = HEAD.format(name=name, what=what, value=value)
        (folder / "metrics" / f"{name}.sql").write_text(text, encoding="utf-8")


def write_judge(folder: Path, n: int, url: str) -> None:
    """The rubric's file and the settings of the model that it is put to."""
    (folder / "metrics").mkdir(exist_ok=True)
    (folder / "metrics" / "objection.md").write_text(RUBRIC.format(n=n), encoding="utf-8")
    (folder / PROJECT_FILE).write_text(JUDGE.format(n=n, url=url), encoding="utf-8")


def cpu_s() -> float:
    """What this process and its ended children have used."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    arguments = sys.argv[3:]
    given = (int(arguments[0]), *arguments[1:]) if arguments else ()
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), *given)))
