"""Learning from failures in miniature: four arms on one small agent, three seeds.

    python -m tests.bench.bench_nat --work DIR [--signs 4] [--positives 200] [--seeds 0 1 2]

A Llama of 3.2 million parameters is pretrained on an arithmetic agent that goes wrong in several
ways, and then samples its own trajectories: what came to the right answer is a positive, what did
not is a failure. Each arm trains a LoRA adapter on as many tokens; an arm with few different rows
sees them more often. Settings are chosen on validation sums; the test sums are looked at once.
Prints one JSON line: accuracy and the share of malformed calls an arm, with 95 % intervals by a
bootstrap over sums, and the paired differences from `vanilla` and `nut`.

Source of the arms: Wang et al., "Learning From Failure" (2402.11651), whose table stands in the
README beside what comes out here.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from flywheel.models.causal_host import CausalHost
from flywheel.records import Arm
from flywheel.settings import TrainingSettings
from flywheel.training.causal.fit import fit_causal
from flywheel.training.examples.arms import ArmRows, arm_rows
from flywheel.training.examples.example import ChatExample
from tests.bench.arithmetic import TURN_TOKENS, Sum, Trajectory, roll_out, spoiled, sums
from tests.bench.machine import report
from tests.bench.tiny_llama import pretrain

ARMS: tuple[Arm, ...] = ("vanilla", "nut", "nat", "nat-k")
# Sums that the base is pretrained on, by their number of signs, and how often its teacher errs.
PRETRAINED, WRONG_SHARE = {1: 600, 2: 6_000, 3: 6_000, 4: 6_000}, 0.25
N_TRAIN, N_VALIDATION, N_TEST = 1_000, 100, 400
# How often the base is let at each sum to train on.
PASSES = 2
# The means of Llama-2 with 2,000 positives and 10,000 negatives, in per cent (2402.11651).
PAPER = {"7B": (55.90, 63.39, 64.64), "13B": (65.18, 66.53, 67.74)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, help="What was made is found here.")
    parser.add_argument("--signs", type=int, default=4, help="Of a sum: how hard it is.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--positives", type=int, default=200, help="That are learnt, at most.")
    parser.add_argument("--visits", type=int, default=600, help="Positives that an arm may see.")
    asked = parser.parse_args()
    began = time.process_time()
    parts = split_sums(asked.signs)
    base, about = based(asked.work)
    sampled = samples(asked, base, parts)
    runs = {
        arm: [one_run(asked, base, sampled, parts, arm, seed) for seed in asked.seeds]
        for arm in ARMS
    }
    tuned = evaluated(
        asked.work / f"{named(asked, 'vanilla', asked.seeds[0])}.validation.json",
        base,
        asked.work / named(asked, "vanilla", asked.seeds[0]),
        parts["validation"],
    )
    report(
        "nat",
        pretraining=about,
        signs=asked.signs,
        sampled={name: counts(found) for name, found in sampled.items()},
        vanilla_on_validation=summary([tuned]),
        base=summary(
            [evaluated(asked.work / f"base-{asked.signs}.json", base, None, parts["test"])]
        ),
        arms={arm: summary(found) for arm, found in runs.items()},
        differences={
            f"{one} - {other}": difference(runs[one], runs[other])
            for one, other in (("nat", "vanilla"), ("nat", "nut"), ("nat-k", "nat"))
        },
        paper=PAPER,
        seeds=asked.seeds,
        cpu_s=round(time.process_time() - began, 1),
    )


def split_sums(n_signs: int) -> dict[str, list[Sum]]:
    """Different sums to train, to validate and to test on."""
    made = sums(N_TRAIN + N_VALIDATION + N_TEST, n_signs, random.Random(7))
    return {
        "train": made[:N_TRAIN],
        "validation": made[N_TRAIN : N_TRAIN + N_VALIDATION],
        "test": made[-N_TEST:],
    }


def based(work: Path) -> tuple[Path, dict[str, object]]:
    """The pretrained model, made where it is not there yet."""
    folder, about = work / "base", work / "pretraining.json"
    if not about.exists():
        held = frozenset(s.question for n in (2, 3, 4) for p in split_sums(n).values() for s in p)
        rng = random.Random(1)
        rows = [
            spoiled(one, rng, WRONG_SHARE)
            for n_signs, n in PRETRAINED.items()
            for one in sums(n, n_signs, rng, held)
        ]
        made = pretrain(folder, rows)
        about.write_text(json.dumps(made))
    return folder, json.loads(about.read_text())


def samples(
    asked: argparse.Namespace, base: Path, parts: dict[str, list[Sum]]
) -> dict[str, list[ChatExample]]:
    """The base's own trajectories: some of each sum to train on, one of each to validate on."""
    file = asked.work / f"samples-{asked.signs}.json"
    if not file.exists():
        host = CausalHost(base)
        found = {
            "train": [t for seed in range(PASSES) for t in rolled(host, parts["train"], 1.0, seed)],
            "validation": rolled(host, parts["validation"], 1.0, 9),
        }
        rows = {
            name: [[t.given.question, t.messages, t.grade] for t in of_part]
            for name, of_part in found.items()
        }
        file.write_text(json.dumps(rows))
    found = json.loads(file.read_text())
    train = [example(row, i, "train") for i, row in enumerate(found["train"])]
    checks = [example(row, i, "validation") for i, row in enumerate(found["validation"])]
    return {"train": chosen(train, asked.positives), "validation": checks}


def rolled(
    host: CausalHost, given: Sequence[Sum], temperature: float, seed: int
) -> list[Trajectory]:
    turn = iter(range(100))
    return roll_out(
        lambda prompts: host.generate(prompts, TURN_TOKENS, temperature, 1_000 * seed + next(turn)),
        given,
    )


def example(row: list[object], number: int, split: str) -> ChatExample:
    question, messages, grade = row
    return ChatExample(
        example_id=f"{split}-{number}",
        messages=tuple(messages),
        n_context=1,
        grade=float(grade),
        source="accepted" if grade == 1 else "failed",
        generator="base",
        app="arithmetic",
        group=str(question),
        split=split,
        decision_ids=(),
    )


def chosen(found: Sequence[ChatExample], positives: int) -> list[ChatExample]:
    """Different positives, and at most two well-formed failures for each (methods of the paper)."""
    different = {json.dumps(one.messages): one for one in found}
    good = [one for one in different.values() if one.is_good][:positives]
    bad = [one for one in different.values() if not one.is_good and is_whole(one)]
    return [*good, *bad[: 2 * len(good)]]


def is_whole(one: ChatExample) -> bool:
    """Whether it came to an answer, so that nothing is learnt of calls that are none."""
    return "answer" in str(one.messages[-1].get("content"))


def one_run(
    asked: argparse.Namespace,
    base: Path,
    sampled: dict[str, list[ChatExample]],
    parts: dict[str, list[Sum]],
    arm: Arm,
    seed: int,
) -> list[tuple[bool, bool]]:
    """Train one arm with one seed, and let it work out the test sums."""
    name = named(asked, arm, seed)
    out = asked.work / name
    if not (out / "adapter_config.json").exists():
        train = sampled["train"]
        rows = shown(arm_rows(train, arm), budget(train, asked.visits), seed)
        settings = TrainingSettings(
            rank=16, epochs=1, seed=seed, learning_rates=[3e-4, 1e-3, 3e-3], patience=50
        )
        fit = fit_causal(
            rows, sampled["validation"], str(base), settings, out, asked.work / f"{name}.steps"
        )
        print(name, fit.rate, round(fit.base_loss, 3), round(fit.loss, 3), fit.n_tokens, flush=True)
    return evaluated(asked.work / f"{name}.json", base, out, parts["test"])


def named(asked: argparse.Namespace, arm: Arm, seed: int) -> str:
    """Where a run is found again."""
    return f"{arm}-{asked.signs}-{asked.positives}-{asked.visits}-{seed}"


def shown(rows: ArmRows, letters: int, seed: int) -> ArmRows:
    """Rows of the arm, each as often as any other, up to so many letters: every arm's budget."""
    rng = random.Random(seed)
    order: list[ChatExample] = []
    while letters > 0:
        for one in rng.sample(rows.rows, len(rows.rows)):
            letters -= n_letters(one)
            if letters > 0:
                order.append(one)
    return replace(rows, rows=tuple(order))


def n_letters(one: ChatExample) -> int:
    return len(json.dumps(one.messages))


def budget(examples: Sequence[ChatExample], visits: int) -> int:
    """What so many positives of middling length take."""
    good = [n_letters(one) for one in examples if one.is_good]
    return round(visits * sum(good) / len(good))


def evaluated(
    file: Path, base: Path, adapter: Path | None, test: Sequence[Sum]
) -> list[tuple[bool, bool]]:
    """Of each test sum: is the answer right, is a call malformed."""
    if not file.exists():
        host = CausalHost(base)
        host.use(adapter)
        found = rolled(host, test, 0.0, 0)
        file.write_text(json.dumps([[t.is_right, t.is_malformed] for t in found]))
    return [tuple(pair) for pair in json.loads(file.read_text())]


def counts(found: Sequence[ChatExample]) -> dict[str, int]:
    good = sum(one.is_good for one in found)
    return {"positives": good, "failures": len(found) - good}


def summary(runs: Sequence[Sequence[tuple[bool, bool]]]) -> dict[str, object]:
    """Per cent right and malformed: the mean over seeds, its interval over sums, and each seed."""
    table = np.array(runs, float) * 100
    return {
        "right": interval(table[:, :, 0].mean(0)),
        "malformed": interval(table[:, :, 1].mean(0)),
        "right_by_seed": table[:, :, 0].mean(1).round(1).tolist(),
    }


def difference(
    one: Sequence[Sequence[tuple[bool, bool]]], other: Sequence[Sequence[tuple[bool, bool]]]
) -> dict[str, object]:
    """Points of accuracy on the same sums, the seeds of each arm averaged."""
    by_seed = (np.array(one, float) - np.array(other, float))[:, :, 0] * 100
    return {
        "points": interval(by_seed.mean(0)),
        "by_seed": by_seed.mean(1).round(1).tolist(),
    }


def interval(of_sums: np.ndarray) -> list[float]:
    """The mean and its 95 % bounds by a bootstrap over sums."""
    rng = np.random.default_rng(0)
    n = len(of_sums)
    means = of_sums[rng.integers(0, n, (10_000, n))].mean(1)
    return [round(float(x), 1) for x in (of_sums.mean(), *np.quantile(means, [0.025, 0.975]))]


if __name__ == "__main__":
    main()
