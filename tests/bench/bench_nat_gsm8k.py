"""Learning from failures on real questions: four arms on SmolLM2-135M, one seed.

    python -m tests.bench.bench_nat_gsm8k --work DIR [--positives 100] [--test 150]

Positives are solutions of GSM8K that people wrote, as calls of a calculator. The base hardly calls
a tool, so failures are what the first arm, which has learnt those positives, does with other
questions. Each arm is shown as much text, that of three rows a positive. Reads `tasks/` in
FLYWHEEL_BENCH_DATA; prints one JSON line.
"""

import argparse
import ast
import json
import operator
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flywheel.models.causal_host import CausalHost, causal_folder
from flywheel.records import Arm
from flywheel.settings import TrainingSettings
from flywheel.training.causal.fit import fit_causal
from flywheel.training.examples.arms import arm_rows
from flywheel.training.examples.example import ChatExample
from tests.bench.arithmetic import Message, Trajectory, asked, call_of, roll_out, written
from tests.bench.bench_nat import ARMS, budget, difference, example, interval, is_whole, shown
from tests.bench.machine import report

MODEL = "SmolLM2-135M-Instruct"
TURN_TOKENS, MOST_TURNS, SHOWN = 64, 6, 3
_STEP = re.compile(r"<<([^<>=]+)=([^<>]+)>>")
_DOES = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Problem:
    """A question, the solution that a person wrote, and the answer."""

    question: str
    solution: str
    answer: float

    @property
    def steps(self) -> list[str]:
        return [found[1] for found in _STEP.finditer(self.solution)]

    @property
    def trajectory(self) -> list[Message]:
        """The solution as calls of the calculator."""
        messages = asked(self.question)
        for line in self.solution.splitlines():
            for found in _STEP.finditer(line):
                said = _STEP.sub("", line[: found.start()]).rstrip("= $")
                turn = {"role": "assistant", "content": said, "tool_calls": [call_of(found[1])]}
                messages += [turn, {"role": "tool", "content": written(calculate(found[1]))}]
        final = f"The answer is {written(self.answer)}."
        return [*messages, {"role": "assistant", "content": final}]


def calculate(expression: str) -> float:
    """A calculator of the four operations; raises ValueError on anything else."""
    try:
        return _value(ast.parse(expression.replace("x", "*").strip(), mode="eval").body)
    except (SyntaxError, TypeError, ZeroDivisionError, OverflowError, RecursionError) as error:
        raise ValueError(f"write a sum of numbers, not {expression[:40]!r}") from error


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _DOES:
        return _DOES[type(node.op)](_value(node.left), _value(node.right))
    raise TypeError(ast.dump(node)[:40])


def problems(name: str) -> list[Problem]:
    """Those whose steps the calculator can do."""
    path = Path(os.environ["FLYWHEEL_BENCH_DATA"]) / "tasks" / name
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        solution, _, answer = row["answer"].partition("####")
        one = Problem(row["question"], solution.strip(), float(answer.replace(",", "")))
        try:
            is_usable = bool(one.steps) and one.trajectory != []
        except ValueError:
            continue
        if is_usable:
            found.append(one)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, help="What was made is found here.")
    parser.add_argument("--positives", type=int, default=100)
    parser.add_argument("--test", type=int, default=150)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    train, test = problems("gsm8k_train_1000.jsonl"), problems("gsm8k_test_500.jsonl")
    base = causal_folder(MODEL)
    good = [
        example([p.question, p.trajectory, 1.0], i, "train")
        for i, p in enumerate(train[: given.positives])
    ]
    checks = [
        example([p.question, p.trajectory, 1.0], i, "validation") for i, p in enumerate(train[-40:])
    ]
    examples, runs, fits = good, {}, {}
    for arm in ARMS:
        out = given.work / f"gsm8k-{arm}"
        fits[arm] = fitted(given, examples, checks, arm, out)
        file = given.work / f"gsm8k-{arm}.answers.json"
        runs[arm] = [evaluated(file, base, out, test[: given.test], [])]
        if arm == "vanilla":
            examples = [*good, *failures(given, base, out, train)]
    few = train[-43:-40]
    plain = evaluated(given.work / "gsm8k-base.answers.json", base, None, test[: given.test], few)
    report(
        "nat_gsm8k",
        model=MODEL,
        positives=sum(one.is_good for one in examples),
        failures=sum(not one.is_good for one in examples),
        test=given.test,
        base_shown_three=summary(plain),
        arms={arm: summary(found[0]) | fits[arm] for arm, found in runs.items()},
        differences={
            f"nat - {other}": difference(runs["nat"], runs[other]) for other in ("vanilla", "nut")
        },
        cpu_s=round(time.process_time() - began, 1),
    )


def fitted(
    given: argparse.Namespace,
    examples: Sequence[ChatExample],
    checks: Sequence[ChatExample],
    arm: Arm,
    out: Path,
) -> dict[str, float]:
    """An arm's adapter in `out`, trained where it is not there yet; what its training came to."""
    about = given.work / f"gsm8k-{arm}.fit.json"
    if not about.exists():
        rows = shown(arm_rows(examples, arm), budget(examples, 3 * given.positives), 0)
        settings = TrainingSettings(
            rank=8, epochs=1, learning_rates=[3e-4], patience=50, max_tokens=512
        )
        fit = fit_causal(rows, checks, MODEL, settings, out, given.work / f"{arm}.steps")
        found = {"loss": fit.loss, "base_loss": fit.base_loss, "tokens": fit.n_tokens}
        about.write_text(json.dumps(found))
    return dict(json.loads(about.read_text()))


def failures(
    given: argparse.Namespace, base: Path, adapter: Path, train: Sequence[Problem]
) -> list[ChatExample]:
    """What the model with this adapter gets wrong of other questions: two a positive, at most."""
    n, file = given.positives, given.work / "gsm8k-samples.json"
    if not file.exists():
        host = CausalHost(base)
        host.use(adapter)
        found = rolled(host, train[n : n + 3 * n], [], 0.8)
        file.write_text(json.dumps([[t.given.question, t.messages, t.grade] for t in found]))
    own = [example(row, 10_000 + i, "train") for i, row in enumerate(json.loads(file.read_text()))]
    return [one for one in own if not one.is_good and is_whole(one)][: 2 * n]


def rolled(
    host: CausalHost, given: Sequence[Problem], few: Sequence[Problem], temperature: float
) -> list[Trajectory]:
    """What the model does with each question, shown the solutions of a few others before it."""
    before = [message for one in few for message in one.trajectory]
    turn = iter(range(100))

    def say(prompts: list[list[Message]]) -> list[str]:
        asked_ = [[*before, *prompt] for prompt in prompts]
        return host.generate(asked_, TURN_TOKENS, temperature, next(turn), ("</tool_call>",))

    def closed(prompts: list[list[Message]]) -> list[str]:
        replies = say(prompts)
        return [r + "</tool_call>" if "<tool_call>" in r else r for r in replies]

    return roll_out(closed, given, MOST_TURNS, calculate)


def evaluated(
    file: Path, base: Path, adapter: Path | None, test: Sequence[Problem], few: Sequence[Problem]
) -> list[tuple[bool, bool]]:
    if not file.exists():
        host = CausalHost(base)
        host.use(adapter)
        found = rolled(host, test, few, 0.0)
        file.write_text(json.dumps([[t.is_right, t.is_malformed] for t in found]))
    return [tuple(pair) for pair in json.loads(file.read_text())]


def summary(run: Sequence[tuple[bool, bool]]) -> dict[str, object]:
    import numpy as np

    table = np.array(run, float) * 100
    return {"right": interval(table[:, 0]), "malformed": interval(table[:, 1])}


if __name__ == "__main__":
    main()
