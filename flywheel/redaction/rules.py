"""Rules: patterns that are fast enough to stand between a request and its answer.

Texts in, the same texts with masks out, and how many of each kind. The project's own patterns run
in RE2, as part of Arrow: it takes time in proportion to the text, whatever the pattern and whoever
wrote the text. The built-in ones are bounded by how they are written.
"""

import ipaddress
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import pyarrow as pa
import pyarrow.compute as pc

from flywheel.errors import BadSetting

# A pattern of one's own: the name of its mask, then the pattern.
_OWN = re.compile(r"([A-Z][A-Z0-9_]{0,39})=(.+)", re.DOTALL)
_LONGEST_PATTERN = 1_000
# What a pattern may take for 64 kB; RE2 needs a millisecond or two for common ones.
_PROBE_BYTES, _PROBE_CPU_S = 64_000, 0.5
# Seven digits with no more than three other characters between two of them.
_DIGITS = re.compile(r"\d(?:\D{0,3}\d){6}").search
_GAP = re.compile("[ \\-\u00a0]")


@dataclass(frozen=True, slots=True)
class Rule:
    """A built-in rule: what matches `pattern` becomes `<mask>`.

    A text for which `may_hold` is false is not looked at. With `is_valid`, so much is masked as
    that confirms: all, or less by whole groups from the right, since "GB29 NWBK ... 19 ok" goes on
    where the number has ended.
    """

    mask: str
    pattern: re.Pattern[str]
    may_hold: Callable[[str], object]
    is_valid: Callable[[str], bool] | None = None

    def confirmed(self, text: str) -> int:
        """How many characters of a match are to be masked."""
        if self.is_valid is None:
            return len(text)
        ends = [len(text), *(gap.start() for gap in reversed(list(_GAP.finditer(text))))]
        return next((end for end in ends if self.is_valid(text[:end])), 0)


@dataclass(frozen=True, slots=True)
class OwnPattern:
    """A pattern of the project, in RE2's syntax; what it matches becomes `<mask>`."""

    mask: str
    pattern: str


def is_luhn(text: str) -> bool:
    """Whether the digits of `text` end in their Luhn check digit (ISO/IEC 7812-1)."""
    digits = [int(mark) for mark in text if mark.isdecimal()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (
        len(digits) > 12 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
    )


def is_iban(text: str) -> bool:
    """Whether the check digits of an IBAN are right (ISO 13616, mod 97)."""
    plain = re.sub(r"[ -]", "", text).upper()
    moved = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(mark, 36)) for mark in moved)) % 97 == 1


def is_ip(text: str) -> bool:
    """Whether it is an address of IPv4 or IPv6, and more than `::`."""
    if not text.strip(":"):
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


# A host name's labels and its top level, also in other scripts than Latin.
_HOST = r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}"
_TOKENS = (
    r"(?:sk|pk|rk)[-_](?:[a-z]{2,10}[-_])?[A-Za-z0-9_-]{16,200}",
    r"gh[pousr]_[A-Za-z0-9]{30,255}",
    r"github_pat_[A-Za-z0-9_]{22,255}",
    r"glpat-[A-Za-z0-9_-]{20,100}",
    r"xox[abeprs]-[A-Za-z0-9-]{10,250}",
    r"(?:AKIA|ASIA)[A-Z0-9]{16}",
    r"AIza[A-Za-z0-9_-]{35}",
    r"hf_[A-Za-z0-9]{30,100}",
    r"eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,1000}",
)
# What is long and sure comes first: an IBAN holds what looks like a phone number. One digit a
# repetition, so that there is one way only to match.
RULES: dict[str, Rule] = {
    "password_in_url": Rule(
        "PASSWORD",
        re.compile(r"(?<=://)[^\s/@:\"'\\]{1,200}:[^\s/@\"'\\]{1,200}(?=@)"),
        lambda text: "://" in text,
    ),
    "email": Rule(
        "EMAIL_ADDRESS",
        re.compile(rf"(?<![\w.+%'-])[\w.+%'-]{{1,64}}@{_HOST}"),
        lambda text: "@" in text,
    ),
    "api_key": Rule(
        "API_KEY",
        re.compile(rf"(?<![A-Za-z0-9_-])(?:{'|'.join(_TOKENS)})"),
        re.compile(r"[sprk]{2}[-_]|gh[pousr_]|glpat|xox|A[KS]IA|AIza|hf_|eyJ").search,
    ),
    "iban": Rule(
        "IBAN_CODE",
        re.compile(r"(?<!\w)[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?!\w)"),
        _DIGITS,
        is_iban,
    ),
    "card": Rule(
        "CREDIT_CARD",
        re.compile(r"(?<![\w.-])\d(?:[ \-\u00a0]?\d){12,18}(?![\w-])"),
        _DIGITS,
        is_luhn,
    ),
    "us_ssn": Rule(
        "US_SSN",
        re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])"),
        _DIGITS,
    ),
    "ip": Rule(
        "IP_ADDRESS",
        re.compile(
            r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)"
            r"|(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}"
            r"(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4})(?![\w:])"
        ),
        lambda text: text.count(".") > 2 or text.count(":") > 1,
        is_ip,
    ),
    "phone": Rule(
        "PHONE_NUMBER",
        re.compile(
            r"(?<![\w+.])(?:\+|00)[1-9](?:[ ().\-/\u00a0]{0,3}\d){6,14}(?!\w)"
            r"|(?<![\w+.-])(?:\([2-9]\d{2}\)|[2-9]\d{2})[ .\-\u00a0]{1,2}"
            r"\d{3}[ .\-\u00a0]\d{4}(?![\w-])"
            r"|(?<![\w+.-])(?:\(0\d{1,4}\)|0\d{1,4})[ /\-\u00a0]{1,3}"
            r"\d(?:[ \-\u00a0]?\d){4,10}(?![\w-])"
        ),
        _DIGITS,
    ),
}
_ORDER = list(RULES)


class Rules:
    """The rules of a project, in the order in which they are named."""

    def __init__(self, built_in: Sequence[Rule], own: Sequence[OwnPattern]):
        self.built_in = tuple(built_in)
        self.own = tuple(own)

    @classmethod
    def of(cls, names: Sequence[str]) -> "Rules":
        """The rules of `privacy.rules`: a built-in one by its name, or `MASK=pattern`.

        Raises BadSetting on a name that is none, and on a pattern that RE2 cannot run.
        """
        built_in, own = [], []
        for name in names:
            if name in RULES:
                built_in.append(name)
            elif found := _OWN.fullmatch(name):
                own.append(_checked(OwnPattern(found[1], found[2])))
            else:
                near = get_close_matches(name, RULES, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(RULES)};"
                raise BadSetting(
                    f"privacy.rules: there is no rule {name!r}; {hint} a pattern of your own is "
                    "written with the name of its mask, such as 'CUSTOMER_NO=C-[0-9]{6}'"
                )
        return cls([RULES[name] for name in sorted(set(built_in), key=_ORDER.index)], own)

    def __bool__(self) -> bool:
        return bool(self.built_in or self.own)

    def mask(self, texts: list[str], counts: Counter[str]) -> list[str]:
        """The texts with masks; what was masked is added to `counts`."""
        for own in self.own:
            texts = _mask_by_pattern(own, texts, counts)
        for rule in self.built_in:
            may_hold = rule.may_hold
            texts = [_mask_by_rule(rule, t, counts) if may_hold(t) else t for t in texts]
        return texts


def _mask_by_rule(rule: Rule, text: str, counts: Counter[str]) -> str:
    def replace(found: re.Match[str]) -> str:
        end = rule.confirmed(found[0])
        if not end:
            return found[0]
        counts[rule.mask] += 1
        return f"<{rule.mask}>{found[0][end:]}"

    return rule.pattern.sub(replace, text)


def _mask_by_pattern(own: OwnPattern, texts: list[str], counts: Counter[str]) -> list[str]:
    column = pa.array([text.encode("utf-8", "surrogatepass") for text in texts], pa.binary())
    n_found = pc.sum(pc.count_substring_regex(column, own.pattern)).as_py() or 0
    if not n_found:
        return texts
    counts[own.mask] += n_found
    masked = pc.replace_substring_regex(column, own.pattern, f"<{own.mask}>")
    return [text.decode("utf-8", "surrogatepass") for text in masked.to_pylist()]


def _checked(own: OwnPattern) -> OwnPattern:
    """The pattern; raises BadSetting where RE2 cannot run it, or where it fits anything."""
    where = f"privacy.rules: the pattern of {own.mask}"
    if len(own.pattern) > _LONGEST_PATTERN:
        raise BadSetting(f"{where} has more than {_LONGEST_PATTERN:,} characters; write two rules")
    probe = pa.array([b"", (b"a1 -@.:/" * _PROBE_BYTES)[:_PROBE_BYTES]], pa.binary())
    started = time.thread_time()
    try:
        on_nothing, _ = pc.count_substring_regex(probe, own.pattern).to_pylist()
        pc.replace_substring_regex(probe, own.pattern, "")
    except pa.ArrowInvalid as error:
        raise BadSetting(
            f"{where} cannot be used: {str(error).splitlines()[0]}; the syntax is RE2's, without "
            "look-around and back references"
        ) from error
    took_s = time.thread_time() - started
    if on_nothing:
        raise BadSetting(f"{where} matches an empty text, so it would mask everything")
    if took_s > _PROBE_CPU_S:
        raise BadSetting(
            f"{where} takes {took_s:.1f} s for 64 kB of text; write it with shorter repetitions"
        )
    return own
