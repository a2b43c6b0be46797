"""Files of traces as they should not be: seeded mutations of the fixtures of every format.

One seed is one file. Half are broken as bytes are (cut off, flipped, doubled, with NULs), half as
data is: a value of a row is replaced by one of another type, of a size or a depth that nobody
meant, left out, or there twice. Some are compressed afterwards, or before.
"""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import zstandard

FIXTURES = Path(__file__).parent / "fixtures"
FILES = sorted(
    path for path in FIXTURES.rglob("*") if path.suffix in (".json", ".jsonl", ".csv", ".parquet")
)
# As JSON text: some of it Python's own writer would refuse.
HOSTILE = [
    *("null", "true", "false", "0", "-1", "1e308", "1e999", "-0.0", "NaN", "Infinity", "0.1"),
    *('""', '" "', '"\\u0000"', '"\\ud800"', '"\\udfff\\ud800"', '"\\ufeff"', '"\ud83d\ude00"'),
    *("[]", "{}", "[null]", "[[]]", '{"":{}}', '[{"a":1},2,"b"]', '{"role":"user"}'),
    *(
        '"2026-13-45T99:99:99Z"',
        '"9999-12-31T23:59:59.999999+23:59"',
        '"0001-01-01"',
        '"yesterday"',
    ),
    *("9223372036854775807", "9223372036854775808", "18446744073709551616", "-9223372036854775809"),
    *("1" * 5000, '"' + "1" * 5000 + '"', "[" * 600 + "]" * 600, '{"a":' * 600 + "1" + "}" * 600),
    *(
        '"[' + '\\"a\\",' * 50 + '"',
        '"' + "[" * 700 + '"',
        '"{\\"a\\": NaN}"',
        '"x"',
        '"' + "é" * 999 + '"',
    ),
    *('[{"role":"user","content":[{"type":"text"}]}]', '{"messages":[{"role":7,"content":{}}]}'),
    *('{"$ref":"#"}', '"=cmd()"', '"\'; drop table traces; --"', '"../../etc/passwd"', '"%s%n"'),
]
_MARK = "\ue000mutant\ue000"


def mutant(seed: int) -> tuple[Path, bytes]:
    """The fixture that this seed begins with, and what became of it."""
    rng = random.Random(seed)
    path = rng.choice(FILES)
    content = path.read_bytes()
    is_table = path.suffix in (".parquet", ".csv")
    change = _broken_bytes if is_table or rng.random() < 0.5 else _broken_rows
    content = change(content, rng)
    packing = rng.random()
    if packing < 0.05:
        content = gzip.compress(content, 1)
    elif packing < 0.1:
        content = zstandard.compress(content, 1)
    if packing < 0.04:
        content = _broken_bytes(content, rng)
    return path, content


def _broken_bytes(content: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        content = rng.choice(_BREAKING)(content, rng) if content else content
    return content


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _beheaded(content: bytes, rng: random.Random) -> bytes:
    return content[rng.randrange(len(content)) :]


def _flipped(content: bytes, rng: random.Random) -> bytes:
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 20))):
        made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    return bytes(made)


def _doubled(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    part = content[start : start + rng.choice((1, 10, 1000))]
    return content[:start] + part * rng.choice((2, 2, 50)) + content[start:]


def _without(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.choice((1, 10, 1000)) :]


def _with_odd_bytes(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    odd = rng.choice(
        (
            b"\0",
            b"\xff\xfe",
            b"\xed\xa0\x80",
            b"\r",
            b"\n",
            b"\n\n{",
            b'"',
            b"[" * 600,
            b"{}\n",
            b"]",
        )
    )
    return content[:start] + odd + content[start:]


def _in_utf_16(content: bytes, rng: random.Random) -> bytes:
    return content.decode("utf-8", "replace").encode("utf-16")


_BREAKING: list[Callable[[bytes, random.Random], bytes]] = [
    *(_cut, _beheaded, _flipped, _flipped, _doubled, _without, _with_odd_bytes, _with_odd_bytes),
    _in_utf_16,
]


def _broken_rows(content: bytes, rng: random.Random) -> bytes:
    """One value or more of one row is another one."""
    text = content.decode("utf-8")
    try:
        documents = [json.loads(text)]
    except ValueError:
        documents = [json.loads(line) for line in text.splitlines()]
    chosen = rng.randrange(len(documents))
    replaced = []
    for _ in range(rng.choice((1, 1, 2, 6))):
        _mark(documents[chosen], rng)
        replaced.append(rng.choice(HOSTILE))
    lines = [json.dumps(document) for document in documents]
    marked = json.dumps(_MARK)
    for value in replaced:
        lines[chosen] = lines[chosen].replace(marked, value, 1)
    return "\n".join(line.replace(marked, "null") for line in lines).encode(
        "utf-8", "surrogatepass"
    )


def _mark(document: object, rng: random.Random) -> None:
    """Put the mark somewhere below, or leave out, rename or repeat a key."""
    place = document
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = rng.choice(keys)
        inner = place[key]  # type: ignore[index]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.7:
            place = inner
            continue
        what = rng.random()
        if what < 0.1:
            del place[key]  # type: ignore[union-attr]
        elif what < 0.2 and isinstance(place, dict):
            place[f"{key}{rng.choice(('', 's', ' '))}\0"] = place.pop(key)
        elif what < 0.3 and isinstance(place, list):
            place.append(inner)
        else:
            place[key] = _MARK  # type: ignore[index]
        return
