"""A small world with a tool: sums of several steps, which an agent works out with a calculator.

Questions, trajectories by a program that makes mistakes, the calculator, and how a trajectory is
graded. A trajectory is a conversation in OpenAI's shape: thought and call, result, and so on, and
an answer at the end.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from flywheel.models.tool_text import parse_reply

Message = Mapping[str, object]
# What a model may say in one turn: a short thought and a call.
TURN_TOKENS = 48
_RANK = {"+": 1, "-": 1, "*": 2}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_EXPRESSION = re.compile(r"(-?\d+) ([-+*]) (-?\d+)")


class Task(Protocol):
    """What an agent is asked, and the answer that it should come to."""

    @property
    def question(self) -> str: ...

    @property
    def answer(self) -> float: ...

    @property
    def steps(self) -> list[str]: ...


@dataclass(frozen=True)
class Sum:
    """A sum such as `3 + 4 * 5`, with the steps that lead to its answer."""

    terms: tuple[int, ...]
    signs: tuple[str, ...]

    @property
    def question(self) -> str:
        words = [str(self.terms[0])]
        for sign, term in zip(self.signs, self.terms[1:], strict=True):
            words += [sign, str(term)]
        return f"What is {' '.join(words)}?"

    @property
    def steps(self) -> list[str]:
        """The sums of two numbers, in the order in which they have to be done."""
        return list(_walk(self, lambda signs: _next(signs)))

    @property
    def answer(self) -> int:
        return calculate(self.steps[-1])


def _next(signs: Sequence[str]) -> int:
    """The operation that comes first: multiplications, and then from the left."""
    best = max(_RANK[sign] for sign in signs)
    return next(i for i, sign in enumerate(signs) if _RANK[sign] == best)


def _walk(given: Sum, choose: Callable[[Sequence[str]], int]) -> list[str]:
    terms, signs, steps = list(given.terms), list(given.signs), []
    while signs:
        at = choose(signs)
        steps.append(f"{terms[at]} {signs[at]} {terms[at + 1]}")
        terms[at : at + 2] = [calculate(steps[-1])]
        del signs[at]
    return steps


def calculate(expression: str) -> int:
    """The calculator: two numbers and a sign; raises ValueError on anything else."""
    found = _EXPRESSION.fullmatch(expression.strip())
    if not found:
        raise ValueError(f"write two numbers and one of + - *, not {expression[:40]!r}")
    left, right = int(found[1]), int(found[3])
    return {"+": left + right, "-": left - right, "*": left * right}[found[2]]


def sums(n: int, n_signs: int, rng: random.Random, but: frozenset[str] = frozenset()) -> list[Sum]:
    """Different sums with so many signs, none of whose questions is in `but`."""
    found: dict[str, Sum] = {}
    while len(found) < n:
        signs = tuple(rng.choice("+-*") for _ in range(n_signs))
        one = Sum(tuple(rng.randint(2, 30) for _ in range(n_signs + 1)), signs)
        if one.question not in but and abs(one.answer) < 100_000:
            found[one.question] = one
    return list(found.values())


def written(number: float) -> str:
    """As people write it: whole where it is whole."""
    return str(int(number)) if number == int(number) else f"{number:.4f}".rstrip("0")


def asked(question: str) -> list[Message]:
    return [{"role": "user", "content": question}]


def thought(number: int, n_steps: int) -> str:
    return "First" if number == 0 else ("Last" if number == n_steps - 1 else "Then")


def call_of(expression: str) -> Message:
    function = {"name": "calculator", "arguments": {"expression": expression}}
    return {"type": "function", "function": function}


def spoiled(given: Sum, rng: random.Random, wrong_share: float) -> list[Message]:
    """A trajectory by a program that goes wrong in each of several ways.

    It takes the operation at the left first, copies a number badly, leaves a step out, or calls the
    tool in a way that is none.
    """

    def choose(signs: Sequence[str]) -> int:
        return 0 if rng.random() < wrong_share else _next(signs)

    messages = asked(given.question)
    steps = _walk(given, choose)
    last = 0
    for number, step in enumerate(steps):
        if rng.random() < wrong_share / 3:
            step = _misread(step, rng)
        said = f"{thought(number, len(steps))} {step}."
        if rng.random() < wrong_share / 6:
            messages.append({"role": "assistant", "content": f"{said}\n<tool_call>{step}"})
            return messages
        last = calculate(step)
        turn = {"role": "assistant", "content": said, "tool_calls": [call_of(step)]}
        messages += [turn, {"role": "tool", "content": str(last)}]
        if rng.random() < wrong_share / 6:
            break
    return [*messages, {"role": "assistant", "content": f"The answer is {last}."}]


def _misread(step: str, rng: random.Random) -> str:
    """The step with another digit in the place of one of its own."""
    places = [i for i, letter in enumerate(step) if letter.isdigit()]
    at = rng.choice(places)
    return (
        step[:at]
        + str(rng.choice([d for d in range(1, 10) if str(d) != step[at]]))
        + step[at + 1 :]
    )


@dataclass(frozen=True)
class Trajectory:
    """What a model did with a sum: its messages, and whether any of its calls was none."""

    given: Task
    messages: tuple[Message, ...]
    is_malformed: bool = False
    is_done: bool = False

    @property
    def is_right(self) -> bool:
        said = str(self.messages[-1].get("content", ""))
        numbers = _NUMBER.findall(said.replace(",", ""))
        is_answer = self.is_done and not self.is_malformed and bool(numbers)
        return is_answer and float(numbers[-1]) == self.given.answer

    @property
    def grade(self) -> float:
        """1 for the right answer; else the share of the right steps that were called, below 1."""
        if self.is_right:
            return 1.0
        called = [
            str(call["function"]["arguments"].get("expression"))
            for message in self.messages
            for call in message.get("tool_calls") or ()
        ]
        right = 0
        for step, made in zip(self.given.steps, called, strict=False):
            if step != made:
                break
            right += 1
        return min(0.99, right / (len(self.given.steps) + 1))


def roll_out(
    say: Callable[[list[list[Message]]], list[str]],
    given: Sequence[Task],
    most_turns: int = 8,
    calculator: Callable[[str], float] = calculate,
) -> list[Trajectory]:
    """What a model does with each task; `say` answers conversations, the calculator is asked."""
    found = [Trajectory(one, tuple(asked(one.question))) for one in given]
    for _ in range(most_turns):
        open_ = [i for i, one in enumerate(found) if not one.is_done]
        if not open_:
            break
        replies = say([list(found[i].messages) for i in open_])
        for i, reply in zip(open_, replies, strict=True):
            found[i] = _answered(found[i], reply, calculator)
    return found


def _answered(one: Trajectory, text: str, calculator: Callable[[str], float]) -> Trajectory:
    reply = parse_reply(text)
    if reply.faults:
        turn: Message = {"role": "assistant", "content": text}
        return replace(one, messages=(*one.messages, turn), is_malformed=True, is_done=True)
    if not reply.calls:
        turn = {"role": "assistant", "content": reply.text}
        return replace(one, messages=(*one.messages, turn), is_done=True)
    call = reply.calls[0]
    expression = str(call.arguments.get("expression")) if isinstance(call.arguments, dict) else ""
    turn = {"role": "assistant", "content": reply.text, "tool_calls": [call_of(expression)]}
    try:
        result, is_bad = written(calculator(expression)), call.name != "calculator"
    except ValueError as error:
        result, is_bad = str(error), True
    messages = (*one.messages, turn, {"role": "tool", "content": result})
    return replace(one, messages=messages, is_malformed=is_bad, is_done=is_bad)
