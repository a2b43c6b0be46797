"""Conversations that say nearly the same: which stay, which go, and what is compared at all."""

import pytest

from flywheel.corrections import derive_labels
from flywheel.records import split_of
from flywheel.review import decide
from flywheel.store import Project
from flywheel.traces.conversations import InputLevers
from flywheel.training.dataset import take_training_set
from flywheel.training.likeness import MIN_WORDS, screen
from tests.judged import add_traces, said

WORDS = [f"word{i}" for i in range(60)]
LONG = " ".join(WORDS)
# 60 words have 56 stretches of five; another last word changes one of them: 55 of 57 are shared.
NEAR = " ".join([*WORDS[:-1], "other"])
# Another word in the middle changes five: 51 of 61 are shared, .836.
STILL_NEAR = " ".join([*WORDS[:30], "other", *WORDS[31:]])
# Two of them far apart change ten: 46 of 66 are shared, .697.
NOT_NEAR = " ".join([*WORDS[:20], "this", *WORDS[21:40], "that", *WORDS[41:]])


@pytest.mark.parametrize(
    ("text", "is_near"), [(LONG, True), (NEAR, True), (STILL_NEAR, True), (NOT_NEAR, False)]
)
def test_what_shares_four_fifths_of_its_stretches_is_near(text: str, is_near: bool) -> None:
    screened = screen([LONG, text], [True, True], [])
    assert screened.near_duplicates == int(is_near)
    assert screened.kept == ([0] if is_near else [0, 1])


def test_case_and_signs_make_no_difference() -> None:
    assert screen([LONG, f"«{LONG.upper()}»!"], [1, 1], []).left_out == {"near-duplicate": 1}


def test_near_duplicates_with_other_labels_both_teach() -> None:
    assert screen([LONG, NEAR], [True, False], []).kept == [0, 1]


def test_what_is_like_the_holdout_goes_whatever_its_label() -> None:
    screened = screen([LONG, NOT_NEAR], [True, False], [NEAR])
    assert (screened.kept, screened.left_out) == ([1], {"like the holdout": 1})


def test_short_conversations_are_alike_by_chance() -> None:
    short = " ".join(WORDS[: MIN_WORDS - 1])
    assert screen([short, short], [1, 1], [short]).kept == [0, 1]
    enough = " ".join(WORDS[:MIN_WORDS])
    assert screen([enough, enough], [1, 1], []).kept == [0]


def test_a_script_without_spaces_is_compared_sign_by_sign() -> None:
    text = "".join(chr(0x4E00 + i) for i in range(60))
    assert screen([text, text[:-1] + "々"], [1, 1], []).near_duplicates == 1
    assert screen([text, text[::-1]], [1, 1], []).near_duplicates == 0


def test_a_training_set_has_nothing_like_the_holdout_and_each_conversation_once(
    project: Project,
) -> None:
    by_split: dict[str, list[str]] = {}
    for user in (f"u{i}" for i in range(60)):
        by_split.setdefault(split_of("", user), []).append(user)
    texts = {
        by_split["holdout"][0]: "held " + LONG,
        by_split["train"][0]: "held " + NEAR,
        by_split["train"][1]: "taught " + NOT_NEAR,
        by_split["validation"][0]: "taught " + NOT_NEAR,
        by_split["train"][2]: "another " + " ".join(reversed(WORDS)),
    }
    add_traces(
        project.stores,
        [
            {
                "trace_id": user,
                "app": "shop",
                "session_id": f"s-{user}",
                "user_id": user,
                "messages": [
                    {"role": "user", "content": text},
                    {"role": "assistant", "content": "Yes."},
                    {"role": "user", "content": "No!"},
                ],
            }
            for user, text in texts.items()
        ],
    )
    ids = {user: decide(project.stores.ledger, said(user, True)) for user in texts}
    derive_labels(project.stores)
    taken = take_training_set(project.stores, InputLevers())
    assert taken.left_out == {"near-duplicate": 1, "like the holdout": 1}
    kept = {part: [row.group for row in rows] for part, rows in taken.rows.items() if rows}
    # Of two alike in train and validation, the one that measures stays.
    assert kept == {
        "train": [by_split["train"][2]],
        "validation": [by_split["validation"][0]],
    }
    assert taken.learnt == {
        ids[by_split["train"][2]]: "train",
        ids[by_split["validation"][0]]: "validation",
    }
    assert len(taken.considered) == 5
