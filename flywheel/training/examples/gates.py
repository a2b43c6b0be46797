"""Gates: which examples may be learnt from, each reason counted.

Examples in, those that stay out. The one idea is that a failure teaches only where it is one of the
model that is trained, well formed, and one of few: a weaker model's failures, broken ones and too
many of them make things worse (2402.11651).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel.records import unit_hash
from flywheel.traces.tool_calls import UNREAD
from flywheel.training.examples.example import ChatExample

# A shorter text that ends without a sign is one: "Done", "42". As the metric `truncated_answer`.
_LONG = 200
_LONG_LINE = 120
_OPEN_ENDS = ",;([{„“‘"


@dataclass(frozen=True, slots=True)
class Gated:
    """The examples that may be learnt from, in their order, and how many went for which reason."""

    kept: list[ChatExample]
    left_out: dict[str, int]


def gate_examples(examples: Sequence[ChatExample], negatives_a_positive: float) -> Gated:
    """Leave out what is empty, unfinished or malformed, and failures that would not teach.

    These are another generator's than most good examples of their application, and those beyond
    `negatives_a_positive` for each good one: failures with a correction stay first.
    """
    left: Counter[str] = Counter()
    formed = []
    for example in examples:
        fault = fault_of(example)
        if fault:
            left[f"{_side(example)}: {fault}"] += 1
        else:
            formed.append(example)
    main = _generators(formed)
    own = []
    for example in formed:
        if not example.is_good and example.generator not in main.get(example.app, ()):
            left["negative: another generator"] += 1
        else:
            own.append(example)
    kept = _in_share(own, negatives_a_positive)
    if len(own) > len(kept):
        left["negative: more than its share"] = len(own) - len(kept)
    return Gated(kept, dict(left))


def fault_of(example: ChatExample) -> str:
    """What is wrong with the form of what is learnt: empty, unfinished, malformed, or nothing."""
    turns = [message for message in example.learnt if message.get("role") == "assistant"]
    if not turns or any(not _text(turn).strip() and not turn.get("tool_calls") for turn in turns):
        return "empty"
    if any(_is_malformed(call, example) for turn in turns for call in _calls(turn)):
        return "malformed"
    last = example.messages[-1]
    # With a correction beside it, a call of a tool is the very step that was wrong.
    is_open = last.get("role") != "assistant" or (_calls(last) and not example.pair_id)
    if (is_open and not example.is_good) or _breaks_off(_text(turns[-1])):
        return "unfinished"
    return ""


def _side(example: ChatExample) -> str:
    return "positive" if example.is_good else "negative"


def _generators(examples: Sequence[ChatExample]) -> dict[str, set[str]]:
    """By application, the model under most of its good examples; several where they tie."""
    counts: dict[str, Counter[str]] = {}
    for example in examples:
        if example.is_good:
            counts.setdefault(example.app, Counter())[example.generator] += 1
    return {
        app: {name for name, n in of_app.items() if n == max(of_app.values())}
        for app, of_app in counts.items()
    }


def _in_share(examples: Sequence[ChatExample], negatives_a_positive: float) -> list[ChatExample]:
    positives = sum(example.is_good for example in examples)
    most = int(negatives_a_positive * positives)
    negatives = [i for i, example in enumerate(examples) if not example.is_good]
    # In an order that has nothing to do with when they came, but for the correction beside them.
    order = sorted(
        negatives,
        key=lambda i: (not examples[i].pair_id, unit_hash(examples[i].example_id, "negative"), i),
    )
    dropped = set(order[most:])
    return [example for i, example in enumerate(examples) if i not in dropped]


def _text(message: Mapping[str, object]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""


def _calls(message: Mapping[str, object]) -> list[object]:
    calls = message.get("tool_calls")
    return list(calls) if isinstance(calls, list | tuple) else []


def _is_malformed(call: object, example: ChatExample) -> bool:
    """Whether a call has no name, an unknown one, or arguments that are no JSON object."""
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return True
    name, arguments = function.get("name"), function.get("arguments")
    offered = {_name_of(tool) for tool in example.tools}
    if not isinstance(name, str) or name in ("", UNREAD) or (offered and name not in offered):
        return True
    if isinstance(arguments, Mapping):
        return False
    try:
        return not isinstance(json.loads(str(arguments)), dict)
    except (ValueError, RecursionError):
        return True


def _name_of(tool: Mapping[str, object]) -> object:
    function = tool.get("function")
    return (function if isinstance(function, Mapping) else tool).get("name")


def _breaks_off(text: str) -> bool:
    """Whether a long text ends in the middle of a sentence, or a block of code is not closed."""
    text = text.rstrip()
    if text.count("```") % 2:
        return True
    line = text.rpartition("\n")[2]
    is_open = line.endswith(tuple(_OPEN_ENDS)) or (len(line) >= _LONG_LINE and line[-1:].isalnum())
    return len(text) >= _LONG and is_open
