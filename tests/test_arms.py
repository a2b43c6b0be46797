"""Arms: what each learns from the same examples, with which tag, and what it leaves out."""

from collections.abc import Sequence

import pytest

from flywheel.errors import BadInput, NotEnough
from flywheel.models.tags import NAT, NAT_K, TagTemplate
from flywheel.records import Arm
from flywheel.training.examples.arms import arm_rows, grade_class
from flywheel.training.examples.example import ChatExample, Source


def example(
    name: str,
    grade: float | None,
    source: Source = "accepted",
    pair_id: str = "",
    answer: str = "4",
    generator: str = "model-1",
) -> ChatExample:
    """What was asked and answered, after a greeting."""
    messages = (
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": answer},
    )
    return ChatExample(
        name, messages, 3, grade, source, generator, "shop", name, "train", (1,), pair_id
    )


EXAMPLES = [
    example("good", 1.0),
    example("fair", 0.5, "failed"),
    example("mended", None, "correction", pair_id="p"),
    example("broken", None, "failed", pair_id="p", answer="5"),
    example("poor", 0.3, "failed"),
]


def tags_of(arm: Arm, examples: Sequence[ChatExample] = EXAMPLES) -> dict[str, str]:
    """The question turn of each row, by the example's name."""
    return {
        row.example_id: str(row.messages[2]["content"]).removeprefix("2 + 2?").strip()
        for row in arm_rows(examples, arm).rows
    }


def test_vanilla_learns_the_good_ones_alone() -> None:
    assert tags_of("vanilla") == {"good": "", "mended": ""}
    rows = arm_rows(EXAMPLES, "vanilla")
    assert rows.left_out == {"a failure, from which vanilla does not learn": 3}
    assert rows.tag is None


def test_nut_learns_all_of_them_and_tells_none_apart() -> None:
    assert set(tags_of("nut").values()) == {""}
    assert arm_rows(EXAMPLES, "nut").n_examples == 5


def test_nat_tags_good_and_bad() -> None:
    assert tags_of("nat") == {
        "good": "[quality: good]",
        "mended": "[quality: good]",
        "fair": "[quality: bad]",
        "broken": "[quality: bad]",
        "poor": "[quality: bad]",
    }


def test_nat_k_tags_by_grade() -> None:
    assert tags_of("nat-k") == {
        "good": "[quality: good]",
        "fair": "[quality: fair]",
        "mended": "[quality: good]",
        "broken": "[quality: wrong]",
        "poor": "[quality: poor]",
    }


@pytest.mark.parametrize(
    ("grade", "of_class"), [(0.0, 0), (0.01, 1), (0.399, 1), (0.4, 2), (0.99, 2), (1.0, 3)]
)
def test_the_classes_end_at_nothing_four_tenths_and_one(grade: float, of_class: int) -> None:
    assert grade_class(example("a", grade, "failed"), NAT_K) == of_class


def test_only_the_question_turn_has_a_tag() -> None:
    (row,) = arm_rows(EXAMPLES[:1], "nat").rows
    said = [str(message["content"]) for message in row.messages]
    assert said == ["Hello", "Hi", "2 + 2?\n[quality: good]", "4"]
    assert EXAMPLES[0].messages[2]["content"] == "2 + 2?"


def test_validation_asks_as_serving_does() -> None:
    rows = arm_rows(EXAMPLES, "nat-k")
    served = rows.as_served(EXAMPLES)
    assert [row.example_id for row in served] == ["good", "mended"]
    assert {row.messages[2]["content"] for row in served} == {"2 + 2?\n[quality: good]"}


def test_dpo_learns_from_pairs_alone() -> None:
    rows = arm_rows(EXAMPLES, "dpo")
    (pair,) = rows.pairs
    assert (pair.chosen.example_id, pair.rejected.example_id) == ("mended", "broken")
    assert rows.left_out == {"no pair": 3}
    assert rows.n_examples == 2
    with pytest.raises(NotEnough, match="0 pairs of a correction and its failure"):
        arm_rows(EXAMPLES[:3], "dpo")


def test_kto_learns_from_all_without_a_tag() -> None:
    rows = arm_rows(EXAMPLES, "kto")
    assert [row.is_good for row in rows.rows] == [True, False, True, False, False]
    assert rows.tag is None


def test_another_wording_needs_as_many_classes() -> None:
    other = TagTemplate(("no", "yes"), "[correct: {}]")
    rows = arm_rows(EXAMPLES[:1], "nat", other)
    assert rows.rows[0].messages[2]["content"] == "2 + 2?\n[correct: yes]"
    with pytest.raises(BadInput, match="the arm nat-k has 4 classes, the tag 2"):
        arm_rows(EXAMPLES, "nat-k", NAT)
