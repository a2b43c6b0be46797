"""Tool calls as a judge reads them, where the lever puts them in."""

import json
from collections.abc import Sequence
from pathlib import Path

from flywheel.judge.calibration import Calibration
from flywheel.judge.judge import Judge
from flywheel.judge.lexical import LexicalPrototypes
from flywheel.store import Project
from flywheel.traces.conversations import InputLevers, conversation_of, read_day, read_traces
from flywheel.traces.labelled import read_conversations
from flywheel.traces.tool_turns import Message
from tests.conftest import trace, write_lines
from tests.judged import DAY, add_traces

WORDS = InputLevers()
TOOLS = InputLevers(include_tool_calls=True)


def calls(*named: tuple[str, str, object]) -> str:
    """Calls as OpenAI writes them: (id, name, arguments)."""
    return json.dumps(
        [
            {"id": i, "type": "function", "function": {"name": name, "arguments": json.dumps(a)}}
            for i, name, a in named
        ]
    )


def said(messages: Sequence[Message | tuple[str, str]], levers: InputLevers = TOOLS) -> list[str]:
    turns = conversation_of("t", messages, levers).turns
    return [f"{turn.position} {turn.role}: {turn.text}" for turn in turns]


SEARCH = Message(0, "assistant", "", calls(("c1", "search", {"for": "a lamp", "n": 2})))
FOUND = Message(0, "tool", "two lamps", None, "c1")


def test_a_call_stands_in_the_turn_of_the_words_that_it_goes_with() -> None:
    line = 'search({"for":"a lamp","n":2}) -> two lamps'
    asked, answered, thanks = ("user", "a lamp"), ("assistant", "Here."), ("user", "thanks")
    # Before the assistant's first words it goes with those, after them with what was said before.
    before = [asked, SEARCH, FOUND, answered, thanks]
    assert said(before) == ["0 user: a lamp", f"3 assistant: {line}\nHere.", "4 user: thanks"]
    after = [asked, answered, SEARCH, FOUND, thanks]
    assert said(after) == ["0 user: a lamp", f"1 assistant: Here.\n{line}", "4 user: thanks"]
    assert said(after, WORDS) == ["0 user: a lamp", "1 assistant: Here.", "4 user: thanks"]


def test_a_call_that_a_person_breaks_off_is_a_turn_of_its_own() -> None:
    messages = [("user", "a"), ("assistant", "b"), ("user", "c"), SEARCH, ("user", "no, stop")]
    line = 'search({"for":"a lamp","n":2})'
    assert said(messages)[2:] == ["2 user: c", f"3 assistant: {line}", "4 user: no, stop"]


def test_results_go_to_their_calls_by_id_and_else_in_order() -> None:
    both = Message(0, "assistant", "I look.", calls(("1", "one", {}), ("2", "two", {})))
    by_id = [("user", "a"), both, Message(0, "tool", "second", None, "2"), ("tool", "first")]
    assert said(by_id)[1] == "1 assistant: I look.\none({}) -> first\ntwo({}) -> second"
    unasked = [("user", "a"), ("assistant", "b"), ("tool", "from nowhere")]
    assert said(unasked)[1] == "1 assistant: b\n-> from nowhere"


def test_levers_cut_and_strip_calls_and_results_as_they_do_words() -> None:
    levers = InputLevers(10, (r"\[mark\]",), include_tool_calls=True)
    long = Message(0, "assistant", "b", calls(("1", "write", "x" * 40)))
    result = Message(0, "tool", "[mark]0123456789abcdef", None, "1")
    turns = said([("user", "a"), long, result], levers)
    assert turns[1] == '1 assistant: b\nwrite("xxxx […] xxxx") -> 01234 […] bcdef'


def test_calls_alone_do_not_make_a_trace_eligible() -> None:
    messages = [("user", "a lamp"), SEARCH, FOUND, ("user", "hello?")]
    assert said(messages) == said(messages, WORDS) == ["0 user: a lamp", "3 user: hello?"]


def test_a_judge_of_before_the_lever_keeps_its_version() -> None:
    def version(levers: InputLevers) -> str:
        models = {"lexical": LexicalPrototypes()}
        return Judge(models, {"lexical": Calibration()}, levers, "lexical").version

    assert WORDS.named() == {"max_message_chars": 0, "strip_markers": ()}
    assert TOOLS.named() == WORDS.named() | {"include_tool_calls": True}
    assert TOOLS.of_words == WORDS
    assert version(TOOLS) != version(WORDS)


def test_the_warehouse_and_a_file_of_labels_give_the_same_turns(
    project: Project, tmp_path: Path
) -> None:
    row = trace("t", "a lamp") | {
        "messages": [
            {"role": "user", "content": "a lamp"},
            {"role": "assistant", "content": "", "tool_calls": SEARCH.tool_calls},
            {"role": "tool", "content": "two lamps", "tool_call_id": "c1"},
            {"role": "assistant", "content": "Here."},
            {"role": "user", "content": "thanks"},
        ]
    }
    add_traces(project.stores, [row])
    path = write_lines(tmp_path / "labels.jsonl", [row])
    for levers in (WORDS, TOOLS):
        with project.stores.warehouse.open() as connection:
            (of_day,) = read_day(connection, DAY, levers)
            (of_traces,) = read_traces(connection, ["t"], levers)
        (of_file,) = read_conversations(path, levers).conversations
        assert of_day.turns == of_traces.turns == of_file.turns
        assert ("search" in of_day.turns[1].text) is levers.include_tool_calls
