"""Transfer in miniature: a judge fitted on one application reads its own and one it never saw.

    python -m tests.bench.bench_transfer --work DIR [--seeds 0 1 2]

Both label sets of FLYWHEEL_BENCH_DATA, both directions: the frozen base under logistic regression
against the same base with LoRA, on the same holdout. Prints one JSON line: ROC AUC and accuracy a
seed, and LoRA minus base averaged over the seeds with 95 % intervals by session, with McNemar's
exact test of each seed. What was fitted is found again in DIR.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

from flywheel.models.embedder import load_embedder
from flywheel.records import LabelledConversation, Tier
from flywheel.settings import TrainingSettings
from flywheel.statistics import cluster_bootstrap, mcnemar_exact, roc_auc
from flywheel.traces.conversations import InputLevers
from flywheel.traces.labelled import read_conversations
from flywheel.training.fit import fit_judge
from tests.bench.machine import report

SETS = ("mwoz", "dbdc3")
TIERS: tuple[Tier, ...] = ("frozen", "lora")
LEVERS = InputLevers()
# Of each tier and holdout: P(error) and the verdict of each row.
Readings = dict[str, dict[str, list[list[float]]]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, help="What was fitted is found here.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    tests = {name: labelled(f"{name}_holdout") for name in SETS}
    found = {
        home: [readings(asked.work, home, seed, tests) for seed in asked.seeds] for home in SETS
    }
    report(
        "transfer",
        seeds=asked.seeds,
        compared={
            f"{home} -> {test}": compared(tests[test], [run[test] for run in runs])
            for home, runs in found.items()
            for test in SETS
        },
        cpu_s=round(time.process_time() - began, 1),
    )


def labelled(name: str) -> list[LabelledConversation]:
    path = Path(os.environ["FLYWHEEL_BENCH_DATA"]) / "labels" / f"{name}.jsonl"
    return list(read_conversations(path, LEVERS).labelled)


def readings(
    work: Path, home: str, seed: int, tests: dict[str, list[LabelledConversation]]
) -> Readings:
    """What each tier of a judge fitted at home says of every holdout."""
    file = work / f"{home}-{seed}.json"
    if not file.exists():
        settings = TrainingSettings(seed=seed)
        embedder = load_embedder("all-MiniLM-L6-v2", 1)
        judge, fit = fit_judge(labelled(f"{home}_train"), [], embedder, LEVERS, settings)
        made: Readings = {}
        for name, rows in tests.items():
            conversations = [row.conversation for row in rows]
            made[name] = {}
            for tier in TIERS:
                verdicts = judge.verdicts(conversations, judge.opinions(conversations, tier), tier)
                made[name][tier] = [[v.probability, float(v.perceived_error)] for v in verdicts]
        file.write_text(json.dumps(made))
        print(home, seed, fit.as_dict(), flush=True)
    return json.loads(file.read_text())


def compared(
    rows: list[LabelledConversation], runs: list[dict[str, list[list[float]]]]
) -> dict[str, object]:
    """Each tier by seed, and LoRA minus base on the same rows, seeds averaged."""
    truth = np.array([row.perceived_error for row in rows], bool)
    groups = [row.group for row in rows]
    # Seeds, rows, and P(error) beside the verdict.
    base, lora = (np.array([run[tier] for run in runs]) for tier in TIERS)

    def auc_gain(i: np.ndarray) -> float:
        return auc(truth, lora, i) - auc(truth, base, i)

    right = [found[:, :, 1] == truth for found in (base, lora)]
    gain = (right[1].astype(float) - right[0]).mean(0)
    tests = [
        mcnemar_exact(int((a & ~b).sum()), int((b & ~a).sum())) for a, b in zip(*right, strict=True)
    ]
    auc_difference = cluster_bootstrap(auc_gain, groups, 2_000)
    accuracy = cluster_bootstrap(lambda i: float(gain[i].mean()), groups, 2_000)
    return {
        "auc": {
            tier: by_seed(truth, found) for tier, found in zip(TIERS, (base, lora), strict=True)
        },
        "accuracy": {
            tier: of.mean(1).round(3).tolist() for tier, of in zip(TIERS, right, strict=True)
        },
        "lora_minus_base": {"auc": bounds(auc_difference), "accuracy": bounds(accuracy)},
        "mcnemar_p": [round(p, 4) for p in tests],
    }


def by_seed(truth: np.ndarray, found: np.ndarray) -> list[float]:
    return [round(roc_auc(truth, one[:, 0]), 3) for one in found]


def auc(truth: np.ndarray, found: np.ndarray, i: np.ndarray) -> float:
    return float(np.mean([roc_auc(truth[i], one[i, 0]) for one in found]))


def bounds(interval: object) -> list[float]:
    return [round(getattr(interval, name), 3) for name in ("estimate", "low", "high")]


if __name__ == "__main__":
    main()
