"""What proposals, functions and kept cases name of traces, without those who must go.

Ids of traces in, texts without them out. The one idea is that none of these repeats a word of a
trace, so that ids are all there is to forget, and a version of a function does not hang on them.
"""

import json
from collections import Counter
from pathlib import Path

import sqlalchemy as sa

from flywheel.evolution.cases.dimensions import folder_of
from flywheel.evolution.kept_files import read_kept, write_kept
from flywheel.store.tables import functions, proposals


def forget_in_proposals(connection: sa.Connection, traces: set[str], n: Counter[str]) -> None:
    """Take the ids out of the records of functions and out of the texts of proposals."""
    for version, record in connection.execute(
        sa.select(functions.c.version, functions.c.record)
    ).all():
        kept = without_traces("function", record, traces)
        if kept != record:
            this = functions.update().where(functions.c.version == version)
            n["functions"] += connection.execute(this.values(record=kept)).rowcount
    texts = (proposals.c.before, proposals.c.after, proposals.c.approved)
    wanted = sa.select(proposals.c.proposal_id, proposals.c.kind, *texts)
    rows = connection.execute(wanted.where(proposals.c.kind.in_(("function", "case")))).all()
    for number, kind, *found in rows:
        left = [text and without_traces(kind, text, traces) for text in found]
        if left != found:
            this = proposals.update().where(proposals.c.proposal_id == number)
            values = dict(zip(texts, left, strict=True))
            n["proposals"] += connection.execute(this.values(values)).rowcount


def forget_in_cases(project_folder: Path, traces: set[str]) -> Counter[str]:
    """Take the regression cases of these traces out of the kept files."""
    n: Counter[str] = Counter()
    for path in sorted(folder_of(project_folder).glob("*.jsonl")):
        text = read_kept(path) or ""
        kept = without_traces("case", text, traces)
        if kept != text:
            write_kept(path, kept)
            n["cases"] += text.count("\n") - kept.count("\n")
    return n


def without_traces(kind: str, text: str, traces: set[str]) -> str:
    """A record of a function or the lines of kept cases that name none of these traces."""
    if kind == "case":
        return "\n".join(line for line in text.split("\n") if _trace_of(line) not in traces)
    record = json.loads(text)
    named = record.get("traces", [])
    if traces.isdisjoint(named):
        return text
    record["traces"] = [name for name in named if name not in traces]
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _trace_of(line: str) -> str:
    """The trace that a regression case names; of any other line none."""
    try:
        found = json.loads(line)
    except ValueError:
        return ""
    is_regression = isinstance(found, dict) and found.get("kind") == "regression"
    return str(found.get("trace_id", "")) if is_regression else ""
