"""Doubles for the optimiser of functions: a server that plays an agent and an optimiser by rules.

No model is behind it. The agent knows how to use functions and cannot reckon: it calls one that is
listed, and without one it answers 0. The optimiser says what a test wrote down, step by step.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from flywheel.evolution.functions.moves import Action, Moves, WrittenTest
from flywheel.evolution.functions.record import FunctionRecord
from flywheel.evolution.functions.tasks import Slice, Task
from flywheel.evolution.sandbox.running import Ran
from flywheel.models.endpoint import Endpoint
from flywheel.models.writer import Writer
from flywheel.settings import GenerativeSettings
from flywheel.store.ledger import Ledger
from tests.faulty_proxy import Double, Json, Server, completion

SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
DIGIT_SUM = "def digit_sum(n):\n    return sum(int(digit) for digit in str(n))\n"
NUMBERS: dict[Slice, range] = {
    "train": range(4_107, 4_112),
    "held_out": range(5_208, 5_211),
    "report": range(6_309, 6_312),
}


def digit_sum_of(n: int) -> int:
    return sum(map(int, str(n)))


def record(name: str, code: str) -> FunctionRecord:
    """A function of a number that was there before."""
    return FunctionRecord(name, "A function.", SCHEMA, code)


def tasks() -> list[Task]:
    """What is the sum of the digits of each number, in all three slices."""
    return [
        Task(f"t{n}", f"What is the digit sum of {n}?", digit_sum_of(n), f"g{n}", name)
        for name, numbers in NUMBERS.items()
        for n in numbers
    ]


def by_heart() -> str:
    """Code that knows the training tasks, and nothing else."""
    known = {n: digit_sum_of(n) for n in NUMBERS["train"]}
    return f"def digit_sum(n):\n    return {known}.get(n, 0)\n"


def add(name: str = "digit_sum", code: str = DIGIT_SUM, do: str = "add_function") -> Action:
    """An action, with two tests that the digit sum passes."""
    written = [WrittenTest(arguments=f'{{"n": {n}}}', returns=str(r)) for n, r in ((4107, 12),)]
    return Action.model_validate(
        {
            **{"do": do, "name": name, "description": "The sum of the digits of n."},
            **{"parameters": json.dumps(SCHEMA), "code": code},
            "tests": [one.model_dump() for one in written],
        }
    )


def step(*actions: Action, why: str = "it cannot reckon") -> Moves:
    return Moves(why=why, terminate=False, actions=list(actions))


END = Moves(why="", terminate=True, actions=[])


@dataclass
class Played:
    """The rules of the server, and what it was asked.

    `moves` are what the optimiser says, in order, the last of them again and again. `prefers` is
    the function that the agent calls first where it is listed; otherwise the first that is.
    """

    moves: list[Moves]
    prefers: str = ""
    asked_to_move: list[Json] = field(default_factory=list)
    asked_to_act: list[Json] = field(default_factory=list)

    def reply(self, body: Json) -> tuple[int, object]:
        """What the server says to a request."""
        form = body["response_format"]["json_schema"]["schema"]["properties"]  # type: ignore[index]
        if "actions" in form:
            self.asked_to_move.append(body)
            said = self.moves[min(len(self.asked_to_move), len(self.moves)) - 1]
            return 200, completion(said.model_dump_json())
        self.asked_to_act.append(body)
        return 200, completion(json.dumps(self._act(texts_of(body))))

    def _act(self, said: list[str]) -> dict[str, str]:
        listed = re.findall(r"^name: (\w+)$", said[0], re.MULTILINE)
        found = re.search(r"digit sum of (\d+)", said[1])
        assert found
        if len(said) > 2:
            told = said[-1].splitlines()[1]
            return {"do": "answer", "answer": "0" if told.startswith("error") else told}
        if not listed:
            return {"do": "answer", "answer": "0"}
        called = self.prefers if self.prefers in listed else listed[0]
        return {"do": "call", "function": called, "arguments": f'{{"n": {found[1]}}}'}


def texts_of(body: Json) -> list[str]:
    """The contents of a request's messages."""
    return [message["content"] for message in body["messages"]]  # type: ignore[attr-defined]


def played(rules: Played) -> Double:
    """A server on loopback that follows the rules."""
    return Double(rules.reply)


def writer(server: Server, ledger: Ledger) -> Writer:
    """A writer that asks this server."""
    settings = {"model": "double", "base_url": server.url, "api_key_env": "", "timeout_s": 60.0}
    settings |= {"max_reply_tokens": 2_000, "context_tokens": 32_768, "logprobs": False}
    return Writer(Endpoint("evolver", GenerativeSettings.model_validate(settings), ledger))


def run_here(record: FunctionRecord, arguments: Mapping[str, JsonValue]) -> Ran:
    """A stand-in for the sandbox, for code that stands in this file or in a test of it alone."""
    module: dict[str, object] = {}
    exec(record.code, module)
    try:
        return Ran(module[record.name](**arguments), None, "", 0.0)  # type: ignore[operator]
    except (ArithmeticError, ValueError, TypeError) as error:
        return Ran(None, "raised", f"{type(error).__name__}: {error}", 0.0)
