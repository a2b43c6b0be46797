"""A registry with a history, for the pages that show it: a champion, a challenger, a refusal."""

from dataclasses import replace

import numpy as np

from flywheel.gate import CaseList, GateItem, GateMaterial, GateVerdict, SuiteCase, decide_gate
from flywheel.registry import promote, register, set_alias, set_shadow
from flywheel.settings import GateSettings
from flywheel.store import Project
from flywheel.store.ledger import Ledger

MANIFEST = {
    "base": "all-MiniLM-L6-v2-c9745ed1d9f2",
    "training_set": "0c5e81a3.parquet",
    "considered": ["1", "2", "3"],
    "settings": {"rank": 8, "epochs": 3, "learning_rates": [0.0001, 0.0003]},
    "fit": {"n": 640, "positives": 131, "best": "lora", "lora": {"epochs": 2, "auc_gain": 0.031}},
}


def fill_registry(project: Project) -> None:
    """Two targets: of the judge one that waits for approval and one that was refused."""
    ledger = project.stores.ledger
    for number, parent in enumerate((None, "judge-0", "judge-1", "judge-1")):
        learnt = {1: "train", 2: "validation"} if number else {}
        manifest = MANIFEST if number else {}
        register(
            *(ledger, "judge", f"judge-{number}", manifest, None, parent, "pipeline"), learnt=learnt
        )
    set_alias(ledger, "judge", "champion", "judge-0", "pipeline", "it needs no labels")
    promote(ledger, "judge", "judge-1", "ada", "the first that was trained", force=True)
    compare(project, "judge-2", better=-0.1)
    compare(project, "judge-3", better=0.12)
    set_alias(ledger, "judge", "challenger", "judge-3", "pipeline", "newest training")
    set_shadow(ledger, "judge", "judge-2", "ada", "to see what it says of live traces")
    _fill_app(ledger)


def _fill_app(ledger: Ledger) -> None:
    app = "reply-<b>bold</b>"
    register(ledger, "shop <i>", app, {"base": "SmolLM2-135M-Instruct"}, None, None, "pipeline")
    promote(ledger, "shop <i>", app, "ada", "the first; <script>alert(1)</script>")


def compare(
    project: Project,
    challenger: str,
    better: float,
    n: int = 240,
    target: str = "judge",
    champion: str = "",
) -> GateVerdict:
    """Let the gate compare a version with number 1, which it beats by so much of the labels."""
    random = np.random.default_rng(int(challenger[-1]))
    truth, old, new = random.random(n) < 0.3, random.random(n) < 0.75, random.random(n)
    items = [
        GateItem(
            *(f"t{i}", f"s{i}", ("shop", "travel <b>")[i % 2], bool(truth[i])),
            champion=0.9 if truth[i] == old[i] else 0.1,
            challenger=0.9 if truth[i] == (new[i] < 0.75 + better) else 0.1,
            is_audit=True,
            draw_probability=0.1,
            language=("en", "de")[i % 3 == 0],
            n_chars=100 + 5 * i,
        )
        for i in range(n)
    ]
    right = SuiteCase("", "", True, better > 0 or random.random() < 0.5)
    cases = tuple(replace(right, case_id=f"c{i}", group=f"g{i}") for i in range(70))
    suites = (
        CaseList("regression", cases, "A trace that was wrong and is corrected makes one."),
        CaseList("general", (), "A file of labelled traces, as gate.general, makes one."),
    )
    material = GateMaterial(items, suites)
    against = champion or f"{target}-1"
    return decide_gate(project.stores, target, challenger, against, material, GateSettings())
