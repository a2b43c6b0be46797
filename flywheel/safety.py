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

# For a person who should see that something is there: all of these, and what else takes no room.
# Joiners and variation selectors are among them, and stay where they join and vary, since emoji,
# Persian and Chinese need them; a run of them carries a hidden text. Three flags are spelt in tags.
_JOINERS = "\u200c\u200d"
_SELECTORS = "\u180b-\u180d\u180f\ufe00-\ufe0f"
_IDEOGRAPHS, _THEIR_SELECTORS = (
    "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "\U000e0100-\U000e01ef",
)
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_FLAGS = "|".join(
    "".join(chr(0xE0000 + ord(letter)) for letter in place) + "\U000e007f"
    for place in ("gbeng", "gbsct", "gbwls")
)
_IN_USE = re.compile(
    f"(?:(?<=\U0001f3f4)(?:{_FLAGS})|(?<=\\S)[{_SELECTORS}]"
    f"|(?<=[{_IDEOGRAPHS}])[{_THEIR_SELECTORS}])?[{_JOINERS}]?"
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
    r"|\b(?:reveal|print|repeat|show|output|leak)\b[^.\n]{0,30}"
    r"\b(?:your|the) (?:system|hidden|initial|secret) (?:prompt|instruction|message)s?\b"
    r"|\b(?:do not|don['’]t|stop) (?:follow|obey)(?:ing)? (?:your|any|all|the previous)\b"
    r"[^.\n]{0,30}\b(?:instruction|rule|guideline|prompt)s?\b"
    r"|\bnew (?:system )?instructions?:|\b(?:dan|developer|god) mode (?:enabled|activated|on)\b"
    r"|\bact as an? (?:unrestricted|uncensored|unfiltered|jailbroken)\b"
    # German; French; Spanish, Italian, Portuguese; Chinese, Japanese.
    r"|\b(?:ignorier|vergiss|missachte)\w*\b[^.\n]{0,40}\b(?:anweisung|instruktion|vorgabe)\w*"
    r"|\b(?:ignore[rz]?|oublie[rz]?)\b[^.\n]{0,40}"
    r"\b(?:instructions|consignes) (?:précédentes|ci-dessus)"
    r"|\b(?:ignor[ae]\w{0,2}|olvida|dimentica|esqueça)\b[^.\n]{0,40}"
    r"\b(?:instrucciones|istruzioni|instruções)\b"
    r"|(?:忽略|无视|忘记)[^。\n]{0,20}(?:指令|指示|提示)|(?:指示|命令)[^。\n]{0,10}を?無視"
)


def visible(text: str) -> str:
    """The text without control characters, bidirectional overrides and zero-width marks."""
    return text if text.isprintable() else text.translate(_INVISIBLE)


def marked(text: str) -> str:
    """The text with `⟦U+202E⟧` and the like for what would hide something or reorder the rest.

    Nothing is taken out, and newlines and tabs stay; CR LF becomes a newline.
    """
    return _UNSEEN.sub(_mark, text.replace("\r\n", "\n"))


def _mark(found: re.Match[str]) -> str:
    in_use = _IN_USE.match(found.string, found.start(), found.end())
    kept = in_use[0] if in_use else ""
    return kept + "".join(f"⟦U+{ord(hidden):04X}⟧" for hidden in found[0][len(kept) :])


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
