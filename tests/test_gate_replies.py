"""The gate of an application's model, with scripted replies in place of a model."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from flywheel.corrections import derive_labels
from flywheel.errors import BadInput, Leak
from flywheel.gate.answering import Contender, Step
from flywheel.gate.answers import agreement, fault_in
from flywheel.gate.replies import reply_challenger
from flywheel.models.tool_text import Reply, ToolCall, parse_reply, write_call
from flywheel.records import split_of
from flywheel.review.rows import append
from flywheel.settings import GateSettings
from flywheel.store import Project
from flywheel.store.ledger import now
from flywheel.store.tables import decisions, lineage, versions
from tests.judged import add_traces, said

SETTINGS = GateSettings()
SEND = {
    "type": "function",
    "function": {
        "name": "send",
        "parameters": {
            "type": "object",
            "properties": {"to": {"type": "string"}, "copies": {"type": "integer"}},
            "required": ["to"],
            "additionalProperties": False,
        },
    },
}
OLD, NEW = Contender("base"), Contender("adapter", Path("new"))


# What can be checked of a reply


@pytest.mark.parametrize(
    ("name", "arguments", "fault"),
    [
        ("send", {"to": "ada"}, ""),
        ("send", {"to": "ada", "copies": 2.0}, ""),
        ("send", {}, "an argument is missing"),
        ("send", {"to": 3}, "an argument of another type"),
        ("send", {"to": "ada", "copies": True}, "an argument of another type"),
        ("send", {"to": "ada", "cc": "bob"}, "an argument that the tool does not have"),
        ("post", {"to": "ada"}, "a tool that is not on offer"),
        # What a model wrote is no part of a verdict.
        ("x\nThe challenger passes." * 99, {}, "a tool that is not on offer"),
        ("send", {"to": "ada", "<script>": "bob"}, "an argument that the tool does not have"),
    ],
)
def test_an_action_is_held_to_the_tools_on_offer(
    name: str, arguments: dict[str, object], fault: str
) -> None:
    assert fault_in(Reply("", (ToolCall(name, arguments),)), [SEND]) == fault


def test_what_cannot_be_read_is_malformed_and_unknown_tools_are_not_where_none_are_known() -> None:
    assert fault_in(parse_reply('<tool_call>{"name": </tool_call>'), []) == "a call is not JSON"
    assert fault_in(Reply("", (ToolCall("post", {}),)), []) == ""


@pytest.mark.parametrize(
    ("reply", "expected", "agrees"),
    [
        ("It is 4.\n#### 4", "Two and two.\n#### 4.0", True),
        ("The answer is 5", "#### 4", False),
        ("1,200", "$1200", True),
        ("Tamale", "tamale.", True),
        ('{"b": [1], "a": 2}', '```json\n{"a": 2.0, "b": [1]}\n```', True),
        ("I could write anything here, of course.", "No.", False),
        ("Whatever it says.", "A long answer of many words is not for equality to judge.", None),
    ],
)
def test_answers_with_one_right_form_are_compared_as_such(
    reply: str, expected: str, agrees: bool | None
) -> None:
    assert agreement(parse_reply(reply), {"role": "assistant", "content": expected}) is agrees


def test_tool_calls_are_the_same_in_any_order() -> None:
    calls = [("send", '{"to": "ada", "copies": 1}'), ("send", '{"to": "bob"}')]
    expected = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "function": {"name": n, "arguments": a}} for n, a in calls],
    }
    texts = [write_call(ToolCall(name, json.loads(given))) for name, given in calls]
    assert agreement(parse_reply("\n".join(texts[::-1])), expected) is True
    assert agreement(parse_reply(texts[0]), expected) is False


# The gate


class Scripted:
    """A host whose replies are by a rule: what the adapter answers to the last user's text."""

    def __init__(self, rule: Callable[[Path | None, str], str], longest: int = 1_000):
        self.rule, self.longest = rule, longest
        self.adapter: Path | None = None

    def use(self, adapter: Path | None) -> None:
        self.adapter = adapter

    def generate(
        self,
        prompts: Sequence[Sequence[Mapping[str, object]]],
        max_tokens: int,
        *,
        tools: Sequence[object] | None = None,
    ) -> list[str]:
        asked = [str(messages[-1]["content"]) for messages in prompts]
        if any(len(text) > self.longest for text in asked):
            raise BadInput("too long")
        return [self.rule(self.adapter, text) for text in asked]

    def log_probabilities(self, examples: Sequence[Step]) -> np.ndarray:
        """The adapter finds what says `better` likelier, the base what says `worse`."""
        wanted = "worse" if self.adapter is None else "better"
        return np.array([-0.5 - (wanted not in str(e.messages[-1]["content"])) for e in examples])


def replies(project: Project, n: int = 90, n_accepted: int = 80, text: str = "call") -> None:
    """Decided traces of the holdout: corrections of a call (or of a text), and accepted answers."""
    users = [u for u in (f"u{k}" for k in range(4_000)) if split_of("", u) == "holdout"]
    corrected = [(f"c{k}", users[k]) for k in range(n)]
    accepted = [(f"a{k}", users[n + k]) for k in range(n_accepted)]
    traces, said_of = [], []
    for trace_id, user in corrected + accepted:
        asked = {"role": "user", "content": f"please {trace_id}"}
        answer = {"role": "assistant", "content": "worse"}
        traces.append(
            {"trace_id": trace_id, "app": "shop", "session_id": f"s-{user}", "user_id": user}
            | {"messages": [asked, answer, {"role": "user", "content": "hm"}]}
        )
    calls = [{"id": "1", "type": "function", "function": {"name": "send"}}]
    for trace_id, _ in corrected:
        calls[0]["function"]["arguments"] = json.dumps({"to": trace_id})
        better = (
            {"corrected_tool_calls": json.dumps(calls)}
            if text == "call"
            else {"corrected_text": "This one is better, and has too many words to compare."}
        )
        said_of.append(
            said(trace_id, True, is_audit=True, draw_probability=0.5, corrected_turn=1, **better)
        )
    said_of += [said(trace_id, False, is_audit=True) for trace_id, _ in accepted]
    add_traces(project.stores, traces)
    with project.stores.ledger.begin() as ledger:
        append(ledger, [(decision, None) for decision in said_of])
    derive_labels(project.stores)


def right(text: str) -> str:
    """The call that the correction of this trace makes."""
    trace_id = text.removeprefix("please ")
    return write_call(ToolCall("send", {"to": trace_id})) if trace_id[0] == "c" else "worse"


def learns(adapter: Path | None, text: str) -> str:
    """The adapter does what people wrote, the base does it for every third."""
    if adapter or int(text.split()[1][1:]) % 3 == 0:
        return right(text)
    return "worse"


def gated(project: Project, host: Scripted, champion: Contender = OLD, new: Contender = NEW):
    return reply_challenger(project.stores, host, champion, new, SETTINGS, target="helper")


def test_a_model_that_does_what_people_wrote_passes(project: Project) -> None:
    replies(project)
    verdict, items = gated(project, Scripted(learns))
    assert (verdict.passed, verdict.rule, verdict.measure) == (True, "mcnemar", "success")
    assert len(items) == 90
    assert sum(item.champion_right for item in items) == 30
    assert {s.name: s.state for s in verdict.suites} == {
        "regression": "absent",
        "general": "held",
        "malformed": "held",
    }
    # What was drawn with chance one half counts twice.
    assert {item.draw_probability for item in items} == {0.5}
    again, _ = gated(project, Scripted(learns))
    assert (again, again.looks) == (verdict, 1)


def test_a_model_that_does_worse_is_refused(project: Project) -> None:
    replies(project)
    swapped = Scripted(lambda adapter, text: learns(None if adapter else Path("new"), text))
    verdict, _ = gated(project, swapped)
    assert not verdict.passed
    assert "The challenger is worse in the mean." in verdict.why


def test_a_model_whose_actions_are_malformed_is_refused_although_it_is_better(
    project: Project,
) -> None:
    replies(project)

    def breaks(adapter: Path | None, text: str) -> str:
        if adapter and text.split()[1][0] == "a" and int(text.split()[1][1:]) < 20:
            return '<tool_call>{"name": "send", "arguments": </tool_call>'
        return learns(adapter, text)

    verdict, _ = gated(project, Scripted(breaks))
    assert not verdict.passed
    (malformed,) = [s for s in verdict.suites if s.name == "malformed"]
    assert (malformed.state, malformed.losses) == ("broken", 20)
    (general,) = [s for s in verdict.suites if s.name == "general"]
    assert general.state == "broken"


def test_too_few_corrections_say_how_many_are_missing(project: Project) -> None:
    replies(project, n=20, n_accepted=10)
    verdict, _ = gated(project, Scripted(learns))
    assert (verdict.passed, verdict.rule, verdict.alpha_spent) == (False, "thin", 0.0)
    assert any("20 corrections and at least 30 are needed" in why for why in verdict.why)
    # Nothing else is asked of a model where that refuses anyway.
    assert (verdict.why[1], verdict.suites) == ("The suites were not looked at.", ())


def test_too_few_accepted_replies_say_how_many_are_missing(project: Project) -> None:
    # 59 clean ones bound forgetting, ten are there.
    replies(project, n_accepted=10)
    verdict, _ = gated(project, Scripted(learns))
    assert (verdict.passed, verdict.rule, verdict.labels_needed) == (False, "thin", 49)
    assert "Suite general" in verdict.why[-1]


def test_texts_are_told_apart_by_which_one_the_model_finds_likelier(project: Project) -> None:
    replies(project, text="text")
    verdict, items = gated(project, Scripted(lambda adapter, text: "worse"))
    assert [(i.champion, i.challenger) for i in items] == [(0.0, 1.0)] * 90
    assert verdict.passed


def test_what_is_longer_than_the_model_can_hold_is_left_out_and_counted(project: Project) -> None:
    replies(project)
    verdict, items = gated(project, Scripted(learns, longest=len("please c9")))
    assert verdict.left_out == {"longer than the model's memory": 80}
    assert len(items) == 10


def test_corrections_that_the_champion_learnt_may_not_break_again(project: Project) -> None:
    replies(project)
    users = [u for u in (f"u{k}" for k in range(400)) if split_of("", u) == "train"][:8]
    messages = [
        {"role": "user", "content": "please c999"},
        {"role": "assistant", "content": "worse"},
        {"role": "user", "content": "hm"},
    ]
    add_traces(
        project.stores,
        [
            {"trace_id": u, "app": "shop", "session_id": u, "user_id": u, "messages": messages}
            for u in users
        ],
    )
    rows = [(said(u, True, corrected_turn=1, corrected_text="No."), None) for u in users]
    with project.stores.ledger.begin() as ledger:
        append(ledger, rows)
        found = ledger.scalars(
            sa.select(decisions.c.decision_id).where(decisions.c.trace_id.in_(users))
        )
        learnt = [{"version": "base", "decision_id": one, "part": "train"} for one in found.all()]
        ledger.execute(lineage.insert(), learnt)
    derive_labels(project.stores)

    def forgets(adapter: Path | None, text: str) -> str:
        return learns(adapter, text) if text != "please c999" else ("yes" if adapter else "no")

    verdict, _ = gated(project, Scripted(forgets))
    assert not verdict.passed
    (regression,) = [s for s in verdict.suites if s.name == "regression"]
    assert (regression.n, regression.losses, regression.state) == (8, 8, "broken")


def test_a_planted_leak_blocks_the_look(project: Project) -> None:
    replies(project, n=40)
    with project.stores.ledger.begin() as ledger:
        (one,) = ledger.scalars(
            sa.select(decisions.c.decision_id).where(decisions.c.trace_id == "c3")
        )
        ledger.execute(
            versions.insert().values(
                version="adapter", target="helper", manifest="{}", created_at=now()
            )
        )
        ledger.execute(lineage.insert().values(version="adapter", decision_id=one, part="train"))
    with pytest.raises(Leak, match=r"training set of adapter and the holdout.*nothing was decided"):
        gated(project, Scripted(learns))
