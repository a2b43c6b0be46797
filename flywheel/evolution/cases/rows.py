"""Rows that cases ask about: made up, or drawn from those of a project.

A dimension's values in, rows as JSON objects out. The one idea is that few different authors, words
and days stand in each draw, so that a question that one row answers is found as well as one that
all of them answer.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol

from flywheel.errors import BadInput
from flywheel.evolution.cases.dimensions import RowsOf
from flywheel.evolution.copying import personal_in
from flywheel.judge.prompts import escaped
from flywheel.safety import injected_instruction
from flywheel.settings import PrivacySettings

# What a row is; its values are any JSON.
JsonRow = dict[str, Any]

LENGTHS = {"short": 8, "long": 24}
AUTHORS = ("Ada", "Bruno", "Chika", "Dara", "Emil", "Fatou", "Goran", "Hana")
WORDS = ("invoice", "delivery", "holiday", "server", "contract", "budget", "training", "garden")
_SAID = (
    "The {word} is not what we agreed on.",
    "Please look at the {word} before Friday.",
    "Nobody answered about the {word} so far.",
    "We need a second opinion on the {word}.",
    "All is well with the {word} again.",
    "Who takes over the {word} from me?",
)
_MARKS = (
    *(', "as agreed"', " | see 3; 4", "\nand a second line"),
    *(" {x: 1}", "\ttwo columns", ' \\ "'),
)
_FIRST = date(2026, 3, 2)
_MOST_ROWS = 20_000
_MOST_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of the rows are called; empty where there is none."""

    id: str = "id"
    author: str = "author"
    time: str = "at"
    content: str = "text"


class RowSource(Protocol):
    """Where the rows of a case come from."""

    @property
    def columns(self) -> Columns:
        """What its columns are called."""

    def draw(self, wanted: Mapping[str, str], random_of: random.Random) -> list[JsonRow]:
        """Rows as the dimensions' values ask for them."""


class MadeUp:
    """Rows about nothing, of a structure, a length and a noise that can be chosen."""

    columns = Columns()

    def draw(self, wanted: Mapping[str, str], random_of: random.Random) -> list[JsonRow]:
        """Rows of few authors, words and days; the structure is flat where none is asked for."""
        n = LENGTHS[wanted.get("length", "short")]
        authors = random_of.sample(AUTHORS, random_of.choice((1, 2, 4, 7)))
        words = random_of.sample(WORDS, random_of.choice((1, 2, 4, 7)))
        days = random_of.choice((2, 5, n))
        marks = _MARKS if wanted.get("noise") == "marks" else ("",)
        ids = random_of.sample(range(100, 1000), n)
        rows = []
        for number in ids:
            said = random_of.choice(_SAID).format(word=random_of.choice(words))
            row: JsonRow = {
                "id": f"k{number}",
                "author": random_of.choice(authors),
                "at": (_FIRST + timedelta(days=random_of.randrange(days))).isoformat(),
                "text": said + random_of.choice(marks),
                "pages": random_of.randrange(1, 40),
            }
            rows.append(_shaped(row, wanted.get("structure", "flat"), random_of))
        return rows


def _shaped(row: JsonRow, structure: str, random_of: random.Random) -> JsonRow:
    if structure == "nested":
        row["tags"] = random_of.sample(["new", "urgent", "copied"], random_of.randrange(4))
        row["stored"] = {"shelf": random_of.randrange(9), "by": random_of.choice(["lift", "hand"])}
    elif structure == "ragged" and random_of.random() < 0.5:
        row[random_of.choice(["due", "note", "colour"])] = random_of.choice(["open", "red", "late"])
    return row


@dataclass(frozen=True, slots=True)
class OwnRows:
    """Rows of a project's own file; `left_out` counts those that no prompt may have, and why."""

    columns: Columns
    rows: tuple[JsonRow, ...]
    left_out: dict[str, int]

    def draw(self, wanted: Mapping[str, str], random_of: random.Random) -> list[JsonRow]:
        """Rows that stand one behind the other in the file."""
        n = min(LENGTHS[wanted.get("length", "short")], len(self.rows))
        start = random_of.randrange(len(self.rows) - n + 1)
        return [dict(row) for row in self.rows[start : start + n]]


def read_rows(path: Path) -> list[JsonRow]:
    """The objects of a file of JSON lines, or of one JSON list; raises BadInput on what is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path.name} cannot be read as UTF-8 text: {error}") from error
    try:
        if text.lstrip().startswith("["):
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadInput(f"{path.name} holds no rows in JSON: {error}") from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise BadInput(f"{path.name} holds no rows; write one JSON object a line")
    return list(rows[:_MOST_ROWS])


def own_rows(folder: Path, described: RowsOf, privacy: PrivacySettings) -> OwnRows:
    """The rows that a file of dimensions names, without those that no prompt may have.

    Raises BadInput where fewer than two are left, or ids stand twice.
    """
    kept: list[JsonRow] = []
    left_out: dict[str, int] = {}
    for row in read_rows(folder / described.file):
        if why := _why_not(row, described, privacy):
            left_out[why] = left_out.get(why, 0) + 1
        else:
            kept.append(row)
    if len(kept) < 2 or len({str(row[described.id]) for row in kept}) < len(kept):
        said = ", ".join(f"{n} {why}" for why, n in left_out.items()) or "ids stand twice"
        raise BadInput(f"{described.file} has no two rows that can be asked about: {said}")
    named = Columns(described.id, described.author, described.time, described.content)
    return OwnRows(named, tuple(kept), left_out)


def _why_not(row: JsonRow, described: RowsOf, privacy: PrivacySettings) -> str:
    """Why a row is not asked about; empty where it is."""
    if not isinstance(row.get(described.id), (str, int)):
        return "without an id"
    text = json.dumps(row, ensure_ascii=False)
    if len(text) > _MOST_CHARACTERS:
        return "too long"
    if personal_in(text, privacy):
        return "with personal data"
    plain = " ".join(text.split())
    if injected_instruction(text) or escaped(plain) != plain:
        return "that address a model"
    return ""


def texts_of(rows: Sequence[JsonRow], column: str) -> list[str]:
    """The texts of a column, in order; empty where a row has none."""
    return [value if isinstance(value := row.get(column), str) else "" for row in rows]
