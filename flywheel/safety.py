"""Text from a trace is hostile: what makes it fit to be quoted, shown or put into a prompt.

Leaf module. Strings in, strings or findings out; the one idea is that nothing here interprets text.
"""

import re

# Bidirectional overrides and isolates reorder what a person sees; zero-width marks, soft hyphens
# and tag characters hide text from people that a model still reads. Control characters and halves
# of surrogate pairs stay, as a mark that something stood there.
_INVISIBLE: dict[int, str | None] = dict.fromkeys(
    [
        *(0x00AD, 0x061C, 0x180E, 0xFEFF),
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xE0000, 0xE0080),
    ]
) | dict.fromkeys(
    {*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000)} - {ord("\n"), ord("\t")}, "\ufffd"
)

# Phrases that address a model instead of a person; each is a reason not to put a text in a prompt.
_INJECTION = re.compile(
    r"(?i)\b(?:ignore|disregard|forget|override)\b[^.\n]{0,40}"
    r"\b(?:previous|prior|above|earlier|all|your|system)\b[^.\n]{0,30}"
    r"\b(?:instruction|prompt|rule|message|direction|guideline)s?\b"
    r"|\byou are now\b[^.\n]{0,60}\b(?:assistant|model|ai|mode|jailbroken)\b"
    r"|<\|(?:im_start|im_end|system|endoftext|eot_id)[^|]*\|>"
    r"|\[/?INST\]|<</?SYS>>"
    r"|\b(?:as|to) the (?:judge|grader|evaluator)\b[^.\n]{0,60}"
    r"\b(?:must|should|score|label|output|answer|mark)\b"
    r"|[\"']?perceived_error[\"']?\s*[:=]\s*(?:true|false)"
)


def visible(text: str) -> str:
    """The text without control characters, bidirectional overrides and zero-width marks."""
    return text if text.isprintable() else text.translate(_INVISIBLE)


def encodable(text: str) -> str:
    """The text with `?` for each half of a surrogate pair: UTF-8 and tokenizers know no halves."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def quote(text: str, limit: int = 120) -> str:
    """One line of the text in quotation marks, `limit` characters at most; `…` marks a cut."""
    # What is quoted is at the start; a long text is not cleaned to its end.
    line = " ".join(visible(text[: 8 * limit]).split())
    is_whole = len(line) <= limit and len(text) <= 8 * limit
    return f"“{line}”" if is_whole else f"“{line[: limit - 1].rstrip()}…”"


def injected_instruction(text: str) -> str | None:
    """The passage that tries to instruct a model, or None where none was found.

    A filter for what may enter a prompt, not a proof: it knows common phrasings only.
    """
    found = _INJECTION.search(visible(text))
    return found.group(0)[:80] if found else None
