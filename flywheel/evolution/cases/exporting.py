"""Kept cases, whole: what a test of the application reads.

Files of cases in, one file of JSON lines out; regression cases get the words of their traces here,
and nowhere before.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from flywheel.errors import Refused
from flywheel.evolution.cases.case import Case, RegressionCase, read_cases
from flywheel.evolution.cases.dimensions import folder_of
from flywheel.evolution.cases.regression import whole_cases
from flywheel.evolution.kept_files import read_kept, write_kept
from flywheel.store import Project
from flywheel.store.ledger import record_action


@dataclass(frozen=True, slots=True)
class CaseExport:
    """What was written, and what was not, and why."""

    path: str
    made_up: int
    regressions: int
    left_out: dict[str, int]


def kept_cases(project: Project) -> list[Case]:
    """Every case that is kept, by file and line."""
    paths = sorted(folder_of(project.folder).glob("*.jsonl"))
    return [case for path in paths for case in _cases_in(path, read_kept(path))]


def export_cases(project: Project, out: Path, actor: str, is_forced: bool = False) -> CaseExport:
    """Write every kept case whole to a file, and to the log that it was; raises Refused where the
    file is there.
    """
    if out.exists() and not is_forced:
        raise Refused(f"{out} is there; choose another name, or write over it with --force")
    kept = kept_cases(project)
    made_up = [each for each in kept if not isinstance(each, RegressionCase)]
    regressions = [each for each in kept if isinstance(each, RegressionCase)]
    whole, left_out = whole_cases(project.stores, regressions)
    lines = [json.dumps(each.model_dump(), ensure_ascii=False) for each in made_up]
    lines += [
        json.dumps({"kind": "regression"} | asdict(each), ensure_ascii=False) for each in whole
    ]
    write_kept(out, "".join(f"{line}\n" for line in lines))
    counts = Counter(made_up=len(made_up), regressions=len(whole))
    with project.stores.ledger.begin() as connection:
        record_action(connection, actor, "export_cases", str(out), **counts)
    return CaseExport(str(out), len(made_up), len(whole), left_out)


def _cases_in(path: Path, text: str | None) -> list[Case]:
    """The cases of a file; rows of one's own may stand beside them, and are none."""
    named = (path.with_suffix(".toml")).exists() or path.name == "regressions.jsonl"
    return read_cases(path.name, text) if named else []
