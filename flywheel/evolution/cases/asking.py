"""Questions about rows whose answers code computes.

Rows and the values of two dimensions in, a `Query` out, its plain words and the ids that answer it.
The one idea is that the answer is looked up in the rows by the query, and never by who words it.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise, product

from flywheel.evolution.cases.rows import AUTHORS, WORDS, Columns, JsonRow, RowSource, texts_of
from flywheel.safety import injected_instruction, visible

# Draws of rows in which a query with the wanted number of answers is looked for.
_DRAWS = 200
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_WORD = re.compile(r"[^\W\d_]{5,20}")
_LONGEST_NAME = 40
# More names or words than these are not tried in one draw.
_MOST_TRIED = 40


@dataclass(frozen=True, slots=True)
class Query:
    """Which records are meant; what is empty or 0 does not count. Positions count from 1."""

    first: int = 0
    last: int = 0
    author: str = ""
    word: str = ""
    since: str = ""
    until: str = ""

    def answers(self, rows: Sequence[JsonRow], columns: Columns) -> tuple[str, ...]:
        """The ids of the rows that are meant, in the order of the rows."""
        return tuple(
            str(row[columns.id])
            for position, row in enumerate(rows, start=1)
            if self._means(position, row, columns)
        )

    def _means(self, position: int, row: JsonRow, columns: Columns) -> bool:
        if self.first and not self.first <= position <= self.last:
            return False
        if self.author and row.get(columns.author) != self.author:
            return False
        if self.word and not _has_word(str(row.get(columns.content, "")), self.word):
            return False
        day = str(row.get(columns.time, ""))[:10]
        return not self.since or (bool(_DAY.fullmatch(day)) and self.since <= day <= self.until)

    def anchors(self) -> tuple[str, ...]:
        """What every wording must have as it stands here."""
        positions = [str(n) for n in dict.fromkeys((self.first, self.last)) if n]
        days = dict.fromkeys((self.since, self.until))
        return tuple(filter(None, [*positions, self.author, self.word, *days]))

    def plain(self, columns: Columns) -> str:
        """The question in plain English."""
        parts = []
        if self.first == self.last and self.first:
            parts.append(f"that stands at position {self.first}, counted from 1")
        elif self.first:
            parts.append(
                f"that stands at a position from {self.first} to {self.last}, counted from 1"
            )
        if self.author:
            parts.append(f'whose {columns.author} is "{self.author}"')
        if self.word:
            parts.append(f'whose {columns.content} contains the word "{self.word}"')
        if self.since and self.since == self.until:
            parts.append(f"whose {columns.time} is on {self.since}")
        elif self.since:
            days = f"from {self.since} to {self.until}, both included"
            parts.append(f"whose {columns.time} is {days}")
        return f"Give the {columns.id} of each record {' and '.join(parts)}."


def ask(
    source: RowSource, wanted: Mapping[str, str], draw: random.Random
) -> tuple[list[JsonRow], Query] | None:
    """Rows and a query that has as many answers among them as wanted; None where none was found."""
    for _ in range(_DRAWS):
        rows = source.draw(wanted, draw)
        asked = list(_queries(rows, wanted["addressing"], source.columns, draw))
        draw.shuffle(asked)
        for query in asked:
            if (
                cardinality_of(len(query.answers(rows, source.columns)), len(rows))
                == (wanted["cardinality"])
            ):
                return rows, query
    return None


def cardinality_of(n: int, of: int) -> str:
    """What the dimension of this name says of so many answers among so many rows."""
    if n in (0, 1):
        return ("none", "one")[n]
    return "all" if n == of else "several"


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def _queries(
    rows: Sequence[JsonRow], addressing: str, columns: Columns, draw: random.Random
) -> Iterator[Query]:
    """Queries that may mean some of the rows, and some that mean none."""
    if addressing == "position":
        yield from _by_position(len(rows), draw)
    elif addressing == "time":
        yield from _by_time(rows, columns)
    elif addressing == "author":
        yield from (Query(author=name) for name in _authors(rows, columns, draw))
    elif addressing == "content":
        yield from (Query(word=word) for word in _words(rows, columns, draw))
    else:
        pairs = product(_authors(rows, columns, draw)[:8], _words(rows, columns, draw)[:8])
        yield from (Query(author=name, word=word) for name, word in pairs)


def _by_position(n: int, draw: random.Random) -> Iterator[Query]:
    first = draw.randrange(1, n)
    last = draw.randrange(first + 1, n + 1)
    yield Query(first=first, last=first)
    yield Query(first=first, last=last)
    yield Query(first=1, last=n)
    yield Query(first=n + draw.randrange(1, 9), last=n + 9)


def _by_time(rows: Sequence[JsonRow], columns: Columns) -> Iterator[Query]:
    found = {text[:10] for text in texts_of(rows, columns.time)}
    days = sorted(day for day in found if _is_day(day))
    if not days:
        return
    yield from (Query(since=day, until=day) for day in days)
    yield from (Query(since=one, until=next_) for one, next_ in pairwise(days))
    yield Query(since=days[0], until=days[-1])
    later = date.fromisoformat(days[-1]) + timedelta(days=3)
    yield Query(since=later.isoformat(), until=later.isoformat())


def _is_day(text: str) -> bool:
    try:
        return bool(_DAY.fullmatch(text)) and date.fromisoformat(text) < date(9999, 1, 1)
    except ValueError:
        return False


def _authors(rows: Sequence[JsonRow], columns: Columns, draw: random.Random) -> list[str]:
    found = sorted({name for name in texts_of(rows, columns.author) if _is_name(name)})
    found = draw.sample(found, min(len(found), _MOST_TRIED))
    return [*found, *draw.sample(AUTHORS, 2)]


def _words(rows: Sequence[JsonRow], columns: Columns, draw: random.Random) -> list[str]:
    texts = texts_of(rows, columns.content)
    found = sorted({word.lower() for text in texts for word in _WORD.findall(text)})
    known = [word for word in found if word in WORDS]
    found = known or draw.sample(found, min(len(found), _MOST_TRIED))
    return [*found, *draw.sample(WORDS, 2)]


def _is_name(text: str) -> bool:
    """Whether a value can stand in a question as it is."""
    is_one_line = len(text) <= _LONGEST_NAME and text == visible(text) and text.isprintable()
    return bool(text.strip()) and is_one_line and '"' not in text and not injected_instruction(text)
