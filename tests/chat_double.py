"""A double of a chat model: it answers by a rule that a test gives, and remembers what it is asked.

No model is behind it. What a judge makes of an answer, and what is stored of it, is real.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from flywheel.models.chat import Answer, Prompt

# What it answers to a prompt; a bare yes or no is a whole reply with that label.
Rule = Callable[[Prompt], Answer | bool]


@dataclass
class ChatDouble:
    """A `ChatModel` without a model; `asked` are the prompts that it was given, in order."""

    rule: Rule
    name: str = "double"
    cost_usd: float = 0.001
    asked: list[Prompt] = field(default_factory=list)

    @property
    def version(self) -> str:
        """As if its name were its weights."""
        return f"double-{self.name}"

    def answers(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Answer]]:
        """An answer to each prompt, in order."""
        for index, prompt in enumerate(prompts):
            self.asked.append(prompt)
            said = self.rule(prompt)
            yield index, said if isinstance(said, Answer) else replied(prompt, said, self.cost_usd)


def replied(
    prompt: Prompt, label: bool, cost_usd: float = 0.001, reason: str = "message 2 shows it"
) -> Answer:
    """A reply of the shape that the prompt asks for, sure of its label."""
    reply: dict[str, object] = {prompt.shape.label: label}
    if prompt.shape.codes:
        reply["reason_code"] = "rejection" if label else "none"
    reply["reason"] = reason
    return Answer(json.dumps(reply), 0.9 if label else 0.1, 100, 20, cost_usd, 5.0)


def last_text(prompt: Prompt) -> str:
    """What the double is asked at last: the log, and the question."""
    return prompt.messages[-1].content
