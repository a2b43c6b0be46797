"""What a correction changed: from what is shown, both texts can be read again."""

import random
import re
from html import unescape

import pytest

from flywheel.web.differences import MIN_FOLDED, diff_html
from flywheel.web.edits import Budget, matches

REMOVED = '<del><span class="hidden-words">removed: </span>'
ADDED = '<ins><span class="hidden-words">added: </span>'


def bare(html: str) -> str:
    """The HTML of a difference without its frame and what is said to those who listen."""
    # Of a plain string: markup would escape what it is told to put in.
    inner = str(html).removeprefix('<div class="diff-text">').removesuffix("</div>")
    return inner.replace(REMOVED, "<del>").replace(ADDED, "<ins>")


def texts_of(html: str) -> tuple[str, str]:
    """The original and the edited text, of a difference in which nothing is folded."""
    inner = bare(html)
    before = re.sub("<ins>.*?</ins>", "", inner, flags=re.DOTALL)
    after = re.sub("<del>.*?</del>", "", inner, flags=re.DOTALL)
    assert re.findall("<(?!/?(?:del|ins)>)", inner) == []
    return unescape(re.sub("</?del>", "", before)), unescape(re.sub("</?ins>", "", after))


@pytest.mark.parametrize(
    ("original", "edited", "shown"),
    [
        ("It is in Rome.", "It is in Bern.", "It is in <del>Rome</del><ins>Bern</ins>."),
        ("a b", "a, b", "a<ins>,</ins> b"),
        ("the cat sat", "a dog sat", "<del>the cat</del><ins>a dog</ins> sat"),
        ("", "new", "<ins>new</ins>"),
        ("old", "", "<del>old</del>"),
        ("nothing alike", "quite other", "<del>nothing alike</del><ins>quite other</ins>"),
        ("one\ntwo\nthree", "one\nthree", "one\n<del>two\n</del>three"),
        ("我要去北京", "我想去北京", "我<del>要</del><ins>想</ins>去北京"),
        ("e is here", "e\u0301 is here", "<del>e</del><ins>e\u0301</ins> is here"),
        ("no <b>", "no <i>", "no &lt;<del>b</del><ins>i</ins>&gt;"),
        ("to bern", "to \u202ebern", "to <ins>⟦U+202E⟧</ins>bern"),
    ],
)
def test_changed_words_are_marked_where_they_stand(original: str, edited: str, shown: str) -> None:
    assert bare(diff_html(original, edited)) == shown


@pytest.mark.parametrize(("original", "edited"), [("", ""), ("a\nb", "a\nb"), ("a\r\nb", "a\nb")])
def test_where_nothing_changed_there_is_nothing_to_show(original: str, edited: str) -> None:
    assert diff_html(original, edited) == ""


def test_each_change_says_what_it_is_to_those_who_listen() -> None:
    assert diff_html("a b c", "a x c") == (
        f'<div class="diff-text">a {REMOVED}b</del>{ADDED}x</ins> c</div>'
    )


def test_both_texts_can_be_read_from_what_is_shown() -> None:
    rng = random.Random(7)
    words = ["the", "a", "cat", " ", " ", "\n", ".", "<b>", "&amp;", "漢", "🙂", "x" * 20]
    for _ in range(2_000):
        original = "".join(rng.choices(words, k=rng.randint(0, 30)))
        edited = "".join(w for w in re.split(r"(\s)", original) if rng.random() < 0.8)
        edited += "".join(rng.choices(words, k=rng.randint(0, 4)))
        if original != edited and max(original.count("\n"), edited.count("\n")) < MIN_FOLDED:
            assert texts_of(diff_html(original, edited)) == (original, edited)


def test_lines_far_from_a_change_are_folded() -> None:
    lines = [f"line {number}" for number in range(1_200)]
    shown = bare(diff_html("\n".join(lines), "\n".join(lines).replace("line 600\n", "line six\n")))
    assert shown == "\n".join(
        (
            # What is left of the changed line is the third that stands beside a change.
            '<span class="unchanged">… 598 lines unchanged …</span>',
            "line 598",
            "line 599",
            "line <del>600</del><ins>six</ins>",
            "line 601",
            "line 602",
            '<span class="unchanged">… 597 lines unchanged …</span>',
            "",
        )
    )


def test_a_long_line_is_folded_too() -> None:
    shown = bare(diff_html("word " * 10_000 + "end", "word " * 10_000 + "END"))
    assert shown.startswith('<span class="unchanged">… 49,600 characters unchanged …</span>')
    assert shown.endswith("word <del>end</del><ins>END</ins>")


def test_hostile_text_stays_text() -> None:
    nasty = "</div></ins><script>alert(1)</script>\u202e\x00\ud800"
    shown = diff_html(f"{nasty} a", f"{nasty} b {nasty}")
    assert set(re.findall("<(/?[a-z]+)", shown)) <= {
        *("div", "/div", "del", "/del", "ins", "/ins", "span", "/span")
    }
    assert "\u202e" not in shown
    assert shown.encode("utf-8")


@pytest.mark.parametrize(
    ("original", "edited"),
    [
        ("x\ny\nz\n" * 60_000, "x\nz\ny\n" * 60_000),
        ("x y z " * 30_000, "x z y " * 30_000),
        ("a" * 5_000_000, "b" * 5_000_000),
        ("word " * 1_000_000, "ward " * 1_000_000),
        ("\n" * 5_000_000, "\n" * 4_999_999 + "a"),
        ("a b\n\n" * 200_000, "b a\n\n" * 200_000),
    ],
)
def test_texts_made_to_be_slow_come_to_an_end(original: str, edited: str) -> None:
    """The comparison of the standard library takes hours for the first of these."""
    assert diff_html(original, edited)


def longest_common(before: list[str], after: list[str]) -> int:
    """Length of the longest common subsequence, by the table of all prefixes."""
    row = [0] * (len(after) + 1)
    for one in before:
        last = row
        row = [0]
        for at, other in enumerate(after):
            row.append(last[at] + 1 if one == other else max(last[at + 1], row[at]))
    return row[-1]


def test_as_much_as_possible_is_left_as_it_was() -> None:
    rng = random.Random(5)
    for _ in range(3_000):
        before, after = (rng.choices("abc", k=rng.randint(0, 9)) for _ in range(2))
        found = matches(before, after, Budget(10_000))
        i = j = 0
        for start, other, n in found:
            assert (start >= i, other >= j) == (True, True)
            assert before[start : start + n] == after[other : other + n]
            i, j = start + n, other + n
        assert found[-1] == (len(before), len(after), 0)
        assert sum(n for *_, n in found) == longest_common(before, after)


def test_without_budget_the_beginnings_and_the_ends_are_still_found() -> None:
    before, after = list("same" + "abcdefgh" * 50 + "end"), list("same" + "hgfedcba" * 50 + "end")
    assert matches(before, after, Budget(100)) == [(0, 0, 4), (404, 404, 3), (407, 407, 0)]
