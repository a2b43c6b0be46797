"""The ablation: every arm judges the same conversations, and what is shown is never of the same."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flywheel.judge.cache import VerdictCache
from flywheel.judge.cold_start import cold_start_judge
from flywheel.judge.prompted import PromptedJudge
from flywheel.judge.rubric import load_rubric
from flywheel.models.chat import Answer, Prompt
from flywheel.models.embedder import Embedder, load_embedder
from flywheel.records import LabelledConversation
from flywheel.retrieval.ablation import ArmResult, Shelf, ablate, shelf_of
from flywheel.settings import RetrievalSettings
from flywheel.store import Project
from flywheel.traces.conversations import InputLevers
from flywheel.traces.labelled import read_conversations
from tests.chat_double import ChatDouble, last_text, replied

LEVERS = InputLevers()
START = datetime(2026, 3, 1, tzinfo=UTC)


def line(name: str, is_error: bool, with_tool: bool = False, dated: bool = True) -> str:
    call = {"id": "1", "function": {"name": "book", "arguments": "{}"}}
    answer: dict[str, object] = {"role": "assistant", "content": f"Booked {name}."}
    tool = [{"role": "tool", "tool_call_id": "1", "content": "sold out"}] if with_tool else []
    if with_tool:
        answer["tool_calls"] = [call]
    said = "No, that is wrong." if is_error else "Thanks, that is all."
    row: dict[str, object] = {
        "trace_id": name,
        "session_id": f"session of {name}",
        "messages": [
            {"role": "user", "content": f"Book the train {name}. " + "Please. " * 80},
            answer,
            *tool,
            {"role": "user", "content": said},
        ],
        "label": {"perceived_error": is_error, "reason": "message 2"},
    }
    if dated:
        row["started_at"] = (START + timedelta(days=int(name[1:]))).isoformat()
    return json.dumps(row)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder()


def files(folder: Path, dated: bool = True) -> tuple[Path, Path]:
    asked, others = folder / "asked.jsonl", folder / "others.jsonl"
    asked.write_text("\n".join(line(f"t{i}", i % 3 == 0, i == 0, dated) for i in range(9)))
    others.write_text("\n".join(line(f"t{i}", i % 2 == 0, False, dated) for i in range(5, 20)))
    return asked, others


def run(
    project: Project, embedder: Embedder, folder: Path, model: ChatDouble, dated: bool = True
) -> tuple[dict[str, ArmResult], Shelf]:
    asked, others = files(folder, dated)
    judge = PromptedJudge("double", model, load_rubric(project.metrics_dir), few_shots=3)

    def read(levers: InputLevers) -> Sequence[LabelledConversation]:
        return read_conversations(asked, levers).labelled

    rows = read_conversations(others, LEVERS).labelled
    shelf = shelf_of(rows, cold_start_judge(embedder, LEVERS), embedder)
    found = ablate(
        VerdictCache(project.stores.ledger),
        judge,
        read,
        shelf,
        embedder,
        LEVERS,
        RetrievalSettings(),
        lambda name, done, n: None,
    )
    return {result.arm: result for result in found}, shelf


def by_last_word(prompt: Prompt) -> bool:
    return "is wrong" in last_text(prompt)


def test_each_arm_is_there_and_says_what_it_changed(
    project: Project, embedder: Embedder, tmp_path: Path
) -> None:
    arms, _ = run(project, embedder, tmp_path, ChatDouble(by_last_word))
    assert list(arms) == [
        "none",
        "random",
        "similarity",
        "+ recency",
        "+ disagreement",
        "tool calls in",
        "messages cut at 400",
    ]
    assert {arm.n for arm in arms.values()} == {9}
    assert arms["none"].changed == 0
    assert arms["similarity"].changed == 9
    # One conversation has a tool call, and all have a long message.
    assert arms["tool calls in"].changed == 1
    assert arms["messages cut at 400"].changed == 9


def test_what_is_shown_is_never_of_the_same_session(
    project: Project, embedder: Embedder, tmp_path: Path
) -> None:
    model = ChatDouble(by_last_word)
    run(project, embedder, tmp_path, model)
    shown = [prompt for prompt in model.asked if len(prompt.messages) > 2]
    assert shown
    for prompt in shown:
        own = last_text(prompt).split("Book the train ")[1].split(".")[0]
        others = "".join(message.content for message in prompt.messages[1:-1])
        assert f"Book the train {own}." not in others
        assert len(prompt.messages) == 2 + 2 * 3


def test_a_judge_that_learns_from_what_it_is_shown_wins_by_pairs(
    project: Project, embedder: Embedder, tmp_path: Path
) -> None:
    """The double errs on every error unless it is shown cases, which cost it ten times as much."""

    def rule(prompt: Prompt) -> Answer:
        has_cases = len(prompt.messages) > 2
        return replied(prompt, by_last_word(prompt) and has_cases, 0.01 if has_cases else 0.001)

    arms, _ = run(project, embedder, tmp_path, ChatDouble(rule))
    assert arms["none"].accuracy.estimate == pytest.approx(6 / 9)
    assert arms["similarity"].accuracy.estimate == 1.0
    assert (arms["similarity"].only_this, arms["similarity"].only_plain) == (3, 0)
    # Three pairs differ, all one way: 2 / 2^3.
    assert arms["similarity"].p_value == pytest.approx(0.25)
    assert arms["none"].cost_per_1000_usd == pytest.approx(1.0)
    assert arms["similarity"].cost_per_1000_usd == pytest.approx(10.0)


def test_without_times_there_is_no_arm_of_recency(
    project: Project, embedder: Embedder, tmp_path: Path
) -> None:
    arms, shelf = run(project, embedder, tmp_path, ChatDouble(by_last_word), dated=False)
    assert not shelf.has_times
    assert "+ recency" not in arms
    assert "+ disagreement" in arms


def test_what_was_asked_is_not_asked_again(
    project: Project, embedder: Embedder, tmp_path: Path
) -> None:
    model = ChatDouble(by_last_word)
    run(project, embedder, tmp_path, model)
    n = len(model.asked)
    run(project, embedder, tmp_path, model)
    assert len(model.asked) == n


def test_a_reply_that_cannot_be_read_is_counted_and_no_mark(
    project: Project, embedder: Embedder, tmp_path: Path
) -> None:
    def rule(prompt: Prompt) -> Answer | bool:
        return Answer("what?") if "Book the train t3." in last_text(prompt) else True

    arms, _ = run(project, embedder, tmp_path, ChatDouble(rule))
    assert arms["none"].unjudged == {"unparsed": 1}
    assert arms["none"].n == 8
