"""Tags on the question turn, which say whether what follows is good or bad.

Messages and a class in, messages out, the same in training and in serving. The one idea is that a
tag is plain text of a form that no trace can write: what looks like one is broken, so that nobody
asks for a bad answer, or marks a bad one as good.

Source: Wang et al., "Learning From Failure" (2402.11651): the tag stands with the question, the
good one is always there at inference, and its wording does not matter.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from flywheel.errors import BadInput

# A message in OpenAI's shape.
ChatMessage: TypeAlias = Mapping[str, object]

_SLOT = "{}"
# The form of a tag: a bracket, a word and a colon, and then what differs between classes.
_FORM = re.compile(r"\[[a-z]{3,20}: \{\}\]")
_WORD = re.compile(r"[a-z]{2,20}")


@dataclass(frozen=True, slots=True)
class TagTemplate:
    """How a tag is written, below the text of the question turn; `words` go from worst to good.

    Raises BadInput where `text` is not of the form `[word: {}]`, or there are not two words.
    """

    words: tuple[str, ...]
    text: str = "[quality: {}]"

    def __post_init__(self) -> None:
        """Check the form."""
        if not _FORM.fullmatch(self.text):
            raise BadInput(f"a tag is written like '[quality: {{}}]', and not like {self.text!r}")
        if len(set(self.words)) < 2 or not all(map(_WORD.fullmatch, self.words)):
            raise BadInput(f"the classes of a tag are two lower-case words or more: {self.words}")

    @property
    def good_class(self) -> int:
        """The class of what should be done again: the last."""
        return len(self.words) - 1

    def tag(self, grade_class: int) -> str:
        """The tag of a class, from 0."""
        return self.text.replace(_SLOT, self.words[grade_class])

    @property
    def good(self) -> str:
        """The tag that serving adds."""
        return self.tag(self.good_class)

    def apply(
        self, messages: Sequence[ChatMessage], grade_class: int, n_context: int | None = None
    ) -> tuple[ChatMessage, ...]:
        """The messages with the tag of this class on the question turn, and no other tag in them.

        The question turn is the last of `messages[:n_context]` that is a user's. Raises BadInput
        where there is none.
        """
        within = messages[:n_context]
        asked = [i for i, message in enumerate(within) if message["role"] == "user"]
        if not asked:
            raise BadInput("there is no user's turn to put a tag on")
        found = [self.without_tags(message) for message in messages]
        question = found[asked[-1]]
        text = f"{question.get('content') or ''}".strip()
        tagged = f"{text}\n{self.tag(grade_class)}" if text else self.tag(grade_class)
        found[asked[-1]] = {**question, "content": tagged}
        return tuple(found)

    def apply_good(self, messages: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
        """The messages as serving writes them: the last user's turn has the good tag."""
        return self.apply(messages, self.good_class)

    def without_tags(self, message: ChatMessage) -> dict[str, object]:
        """The message, with what looks like a tag written in round brackets."""
        return {name: self._broken(value) for name, value in message.items()}

    def _broken(self, value: object) -> object:
        if isinstance(value, str):
            return _looks_like(self.text).sub("(\\1:", value)
        if isinstance(value, Mapping):
            return {name: self._broken(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._broken(inner) for inner in value]
        return value

    def in_chat_template(self, template: str) -> str:
        """A Jinja chat template that puts the good tag on the last user's turn by itself.

        For servers that know nothing of tags, such as vLLM's: it makes of messages what
        `apply_good` makes of them, but for tool calls, whose arguments stay. Parts of a text
        become one text; it raises where a part is none, or where no turn is the user's.
        """
        word = self.text[1 : self.text.index(":")]
        before = _BEFORE.replace("$WORD", json.dumps(word)).replace("$N", str(len(word)))
        return before.replace("$GOOD", json.dumps(self.good)) + template


@cache
def _looks_like(text: str) -> re.Pattern[str]:
    """The opening of a tag of this form, however it is spaced, whatever its bracket and case."""
    word = text[1 : text.index(":")]
    return re.compile(rf"[\[［]\s*({word})\s*[:：]", re.IGNORECASE)


# What stands before a model's own template. `unlike` breaks the tags that start with one bracket,
# as `_looks_like` finds them; Jinja has no patterns. The letters that it replaces are those that a
# pattern takes for an i or an s in another case.
_BEFORE = """
{%- macro unlike(text, bracket) -%}
{%- for part in text.split(bracket) -%}
{%- set inner = part.lstrip() -%}
{%- set after = inner[$N:].lstrip() -%}
{%- set word = inner[:$N] | replace('İ', 'i') | replace('ı', 'i') | replace('ſ', 's') | lower -%}
{%- if loop.first -%}{{- part -}}
{%- elif word == $WORD and after[:1] in [':', '：'] -%}{{- '(' ~ inner[:$N] ~ ':' ~ after[1:] -}}
{%- else -%}{{- bracket ~ part -}}
{%- endif -%}
{%- endfor -%}
{%- endmacro -%}
{%- set tagged = namespace(messages=[], last=-1, text='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}{%- set tagged.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- if tagged.last < 0 -%}
{{- raise_exception("there is no turn of the user to put the tag of a good answer on") -}}
{%- endif -%}
{%- for message in messages -%}
{%- set is_question = loop.index0 == tagged.last -%}
{%- set content = message['content'] -%}
{%- if content or is_question -%}
{%- set tagged.text = content if content is string else '' -%}
{%- if content and content is not string -%}
{%- for part in content -%}
{%- if part is mapping and part['text'] is string -%}
{%- set tagged.text = tagged.text ~ ('' if loop.first else '\n') ~ part['text'] -%}
{%- else -%}
{{- raise_exception("only text can be asked with the tag of a good answer") -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- set tagged.text = unlike(unlike(tagged.text, '['), '［') -%}
{%- if is_question -%}
{%- set tagged.text = ((tagged.text | trim) ~ '\n' ~ $GOOD) | trim -%}
{%- endif -%}
{%- set tagged.messages = tagged.messages + [dict(message, content=tagged.text)] -%}
{%- else -%}
{%- set tagged.messages = tagged.messages + [message] -%}
{%- endif -%}
{%- endfor -%}
{%- set messages = tagged.messages %}
""".strip()

# Two classes, and four: a grade of 0, below .4, below 1, and 1 (2402.11651, section 4.4).
NAT = TagTemplate(("bad", "good"))
NAT_K = TagTemplate(("wrong", "poor", "fair", "good"))
