"""Examples of an application's replies: out of which traces, through which gates, and how many."""

import itertools
import json
from dataclasses import replace

import pytest

from flywheel.corrections import derive_labels
from flywheel.errors import Leak
from flywheel.forgetting import forget_user
from flywheel.judge.prompts import prompt_of
from flywheel.judge.replies import read_reply
from flywheel.judge.rubric import load_rubric
from flywheel.records import Split, split_of
from flywheel.registry import list_versions, register
from flywheel.review import decide
from flywheel.review.rows import append
from flywheel.review.tool_calls import in_openai_shape
from flywheel.settings import TrainingSettings
from flywheel.store import Project
from flywheel.traces.conversations import InputLevers, read_traces
from flywheel.training.examples.example import ChatExample, Source
from flywheel.training.examples.gates import fault_of, gate_examples
from flywheel.training.examples.replay import with_replay
from flywheel.training.examples.snapshot import ExampleSet, read_example_set, take_example_set
from flywheel.training.targets import Target
from tests.judged import add_traces, said
from tests.test_arms import example

LOOK_UP = {"type": "function", "function": {"name": "look_up", "parameters": {}}}


def calling(name: str, arguments: str, source: Source = "failed", pair_id: str = "") -> ChatExample:
    """An answer that is a call of a tool."""
    made = example("calls", 0.0 if source == "failed" else 1.0, source, pair_id)
    call = {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}
    turn = {"role": "assistant", "content": None, "tool_calls": [call]}
    return replace(made, messages=(*made.messages[:3], turn), tools=(LOOK_UP,))


# Gates


@pytest.mark.parametrize("answer", ["", " \n"])
def test_an_answer_without_a_word_or_a_call_is_empty(answer: str) -> None:
    assert fault_of(example("a", 0.0, "failed", answer=answer)) == "empty"
    made = example("a", 0.0, "failed")
    assert fault_of(replace(made, messages=made.messages[:3])) == "empty"


@pytest.mark.parametrize(
    ("name", "arguments", "fault"),
    [
        ("look_up", '{"q": 1}', ""),
        ("look_up", "{}", ""),
        ("look_up", '{"q": ', "malformed"),
        ("look_up", "[1]", "malformed"),
        ("", "{}", "malformed"),
        ("?", "{}", "malformed"),
        ("delete_all", "{}", "malformed"),
    ],
)
def test_a_call_names_a_tool_on_offer_and_gives_it_an_object(
    name: str, arguments: str, fault: str
) -> None:
    assert fault_of(calling(name, arguments, "correction", "p")) == fault


def test_a_failure_that_ends_with_a_call_is_unfinished_unless_the_call_was_corrected() -> None:
    assert fault_of(calling("look_up", "{}")) == "unfinished"
    assert fault_of(calling("look_up", "{}", pair_id="p")) == ""
    # A good step may be a call.
    assert fault_of(calling("look_up", "{}", "accepted")) == ""


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("four", ""),
        ("word " * 50 + "and then,", "unfinished"),
        ("word " * 50 + "end", "unfinished"),
        ("word " * 50 + "end.", ""),
        ("word " * 50 + "end.\n- a list", ""),
        ("```python\nprint(4)", "unfinished"),
        ("```python\nprint(4)\n```", ""),
    ],
)
def test_an_answer_that_breaks_off_is_unfinished(answer: str, fault: str) -> None:
    assert fault_of(example("a", 0.0, "failed", answer=answer)) == fault


def test_failures_of_another_model_than_the_good_examples_teach_nothing() -> None:
    # Two of three good answers are model-2's.
    examples = [
        example("a", 1.0, generator="model-1"),
        example("b", 1.0, generator="model-2"),
        example("c", None, "correction", "p", generator="model-2"),
        example("d", 0.0, "failed", "p", generator="model-2"),
        example("e", 0.0, "failed", generator="model-1"),
        example("f", 0.0, "failed", generator=""),
        replace(example("g", 0.0, "failed", generator="model-1"), app="other"),
    ]
    gated = gate_examples(examples, 10)
    assert [e.example_id for e in gated.kept] == ["a", "b", "c", "d"]
    assert gated.left_out == {"negative: another generator": 3}


def test_each_application_has_a_model_of_its_own() -> None:
    other = replace(example("b", 1.0, generator="model-2"), app="other")
    failures = [
        example("c", 0.0, "failed", generator="model-1"),
        replace(example("d", 0.0, "failed", generator="model-2"), app="other"),
    ]
    gated = gate_examples([example("a", 1.0), other, *failures], 10)
    assert (len(gated.kept), gated.left_out) == (4, {})


@pytest.mark.parametrize(("share", "n_negatives"), [(2.0, 4), (0.5, 1), (0.0, 0), (10.0, 6)])
def test_so_many_failures_a_good_example_and_no_more(share: float, n_negatives: int) -> None:
    positives = [example("a", 1.0), example("b", None, "correction", "p")]
    negatives = [example(f"n{i}", 0.0, "failed") for i in range(5)]
    examples = [*negatives, *positives, example("paired", 0.0, "failed", "p")]
    gated = gate_examples(examples, share)
    kept = [e.example_id for e in gated.kept if not e.is_good]
    assert len(kept) == n_negatives
    # That with a correction in the same context goes last.
    assert ("paired" in kept) == (n_negatives > 0)
    left = {"negative: more than its share": 6 - n_negatives} if n_negatives < 6 else {}
    assert gated.left_out == left


def test_every_reason_is_counted_by_side() -> None:
    examples = [
        example("a", 1.0),
        example("b", 1.0, answer=""),
        example("c", 0.0, "failed", answer=""),
        calling("look_up", "[]"),
        calling("look_up", "{}"),
    ]
    assert gate_examples(examples, 2).left_out == {
        "positive: empty": 1,
        "negative: empty": 1,
        "negative: malformed": 1,
        "negative: unfinished": 1,
    }


# Replay


def numbered(n: int) -> list[ChatExample]:
    """Examples of the decisions 1 to n."""
    return [replace(example(f"e{i}", 1.0), decision_ids=(i,)) for i in range(1, n + 1)]


def test_all_examples_stay_where_they_fit_in() -> None:
    replayed = with_replay(numbered(10), set(range(1, 7)), 10, 0.3, 0)
    assert (len(replayed.kept), replayed.n_old, replayed.n_left_out) == (10, 6, 0)


@pytest.mark.parametrize(
    ("n_known", "n_old"),
    [
        # Of 10 places 3 are for old ones.
        (60, 3),
        # 98 of 100 are old: the 2 new ones leave 8 places.
        (98, 8),
        # Only 2 are old.
        (2, 2),
        (0, 0),
    ],
)
def test_a_share_of_old_examples_is_learnt_again(n_known: int, n_old: int) -> None:
    replayed = with_replay(numbered(100), set(range(1, n_known + 1)), 10, 0.3, 0)
    assert (len(replayed.kept), replayed.n_old) == (10, n_old)
    assert replayed.n_left_out == 90
    new = [e.decision_ids[0] for e in replayed.kept if e.decision_ids[0] > n_known]
    # The newest of the new ones.
    assert new == list(range(101 - (10 - n_old), 101))


def test_the_seed_draws_other_old_examples_and_the_same_seed_the_same() -> None:
    drawn = [
        [e.example_id for e in with_replay(numbered(100), set(range(1, 91)), 10, 0.5, seed).kept]
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_pair_is_replayed_whole() -> None:
    sides: tuple[tuple[float, Source], ...] = ((1.0, "correction"), (0.0, "failed"))
    pairs = [
        replace(example(f"{source}{i}", grade, source, f"p{i}"), decision_ids=(i,))
        for i in range(1, 21)
        for grade, source in sides
    ]
    replayed = with_replay(pairs, set(range(1, 21)), 7, 0.3, 0)
    assert len(replayed.kept) == 6
    ids = [e.pair_id for e in replayed.kept]
    assert all(ids.count(pair_id) == 2 for pair_id in ids)


# Out of the warehouse


def of_split(split: Split, number: int) -> str:
    """A user whose traces are of this split."""
    users = (f"user-{i}" for i in itertools.count())
    return next(itertools.islice((u for u in users if split_of("", u) == split), number, None))


def asked(
    user: str, answer: str, tool_calls: str | None = None, **more: object
) -> dict[str, object]:
    """A trace of a user: what was asked after a greeting, the answer, and what the user said."""
    turns = [("user", "Hello"), ("assistant", "Hi"), ("user", f"2 + 2, for {user}?")]
    turns += [("assistant", answer), ("user", "Well.")]
    messages: list[dict[str, object]] = [{"role": role, "content": text} for role, text in turns]
    messages[3]["tool_calls"] = tool_calls
    named = {"trace_id": f"t-{user}", "session_id": f"s-{user}", "user_id": user}
    return {"app": "shop", "messages": messages} | named | more


@pytest.fixture
def decided(project: Project) -> Project:
    """A corrected, an accepted and a failed answer in each split, and a corrected tool call."""
    traces, words = [], []
    for split in ("train", "validation", "calibration", "holdout"):
        mended, fine, wrong = (of_split(split, i) for i in range(3))
        traces += [asked(mended, "5"), asked(fine, "4"), asked(wrong, "6")]
        words += [
            said(f"t-{mended}", True, evidence_turn=4, corrected_turn=3, corrected_text="4"),
            said(f"t-{fine}", False, evidence_turn=4),
            said(f"t-{wrong}", True, evidence_turn=4),
        ]
    caller = of_split("train", 3)
    wrong_call = in_openai_shape('[{"name": "add", "arguments": "{}"}]')
    traces.append(asked(caller, "", tool_calls=wrong_call))
    calls = in_openai_shape('[{"id": "7", "name": "add", "arguments": "{\\"a\\": 2}"}]')
    words.append(said(f"t-{caller}", True, corrected_turn=3, corrected_tool_calls=calls))
    add_traces(project.stores, traces)
    with project.stores.ledger.begin() as connection:
        append(connection, [(word, None) for word in words])
    derive_labels(project.stores)
    return project


def taken_by(project: Project, target: Target, **settings: object) -> ExampleSet:
    wanted = TrainingSettings.model_validate(settings)
    rubric = load_rubric(project.metrics_dir)
    return take_example_set(project.stores, target, wanted, InputLevers(), rubric)


APP = Target("replies", "app", base="tiny")


def test_a_correction_and_the_failure_that_it_mends_share_their_context(decided: Project) -> None:
    found = {e.example_id: e for e in taken_by(decided, APP).train}
    good, bad = found["1-correction"], found["1-failed"]
    assert good.context == bad.context
    assert [m["content"] for m in good.context][-1] == f"2 + 2, for {good.group}?"
    assert [m["content"] for m in good.learnt] == ["4"]
    assert [m["content"] for m in bad.learnt] == ["5"]
    assert (good.grade, bad.grade) == (1.0, 0.0)
    assert good.pair_id == bad.pair_id == "1"
    assert good.trace_id == f"t-{good.group}"


def test_accepted_answers_are_good_and_errors_without_a_correction_are_not(
    decided: Project,
) -> None:
    found = {e.example_id: e for e in taken_by(decided, APP).train}
    assert [m["content"] for m in found["2-accepted"].learnt] == ["4"]
    assert [m["content"] for m in found["3-failed"].learnt] == ["6"]
    assert (found["2-accepted"].is_good, found["3-failed"].is_good) == (True, False)
    assert found["3-failed"].pair_id == ""


def test_a_corrected_tool_call_is_learnt_as_a_call(decided: Project) -> None:
    found = {e.example_id: e for e in taken_by(decided, APP).train}
    (turn,) = found["13-correction"].learnt
    calls = turn["tool_calls"]
    assert isinstance(calls, list)
    assert calls[0]["function"] == {"name": "add", "arguments": '{"a": 2}'}
    (turn,) = found["13-failed"].learnt
    assert turn["tool_calls"][0]["function"]["arguments"] == "{}"  # type: ignore[index]


def test_nothing_of_the_holdout_is_an_example(decided: Project) -> None:
    taken = taken_by(decided, APP)
    groups = {e.group for e in taken.examples}
    assert not groups & {of_split("holdout", i) for i in range(3)}
    assert {e.split for e in taken.examples} == {"train", "validation", "calibration"}
    # Of validation the good ones.
    assert [e.source for e in taken.validation] == ["correction", "accepted"]
    assert len(taken.considered) == 13


def test_lineage_has_the_part_of_every_decision(decided: Project) -> None:
    learnt = taken_by(decided, APP).learnt
    # 3 decisions a split in turn: mended, fine, wrong; then the call.
    assert learnt == {
        **{1: "train", 2: "train", 3: "negative", 4: "validation", 5: "validation"},
        **{7: "calibration", 8: "calibration", 9: "negative", 13: "train"},
    }


def test_a_causal_judge_is_asked_as_in_use_and_learns_the_reply(decided: Project) -> None:
    judge = Target("judged", "chat-judge", judge="small", base="tiny")
    taken = taken_by(decided, judge)
    assert {e.split for e in taken.examples} == {"train", "validation"}
    example = next(e for e in taken.examples if e.example_id == "3-reply")
    rubric = load_rubric(decided.metrics_dir)
    with decided.stores.warehouse.open() as connection:
        (conversation,) = read_traces(connection, [example.trace_id], InputLevers())
    prompt = prompt_of(rubric, conversation, ())
    assert [m["content"] for m in example.context] == [m.content for m in prompt.messages]
    assert json.loads(str(example.learnt[0]["content"])) == {
        "perceived_error": True,
        "reason_code": "correction",
        "reason": "The user corrects the assistant in message 4.",
    }
    read_reply(str(example.learnt[0]["content"]), prompt.shape)


def test_the_same_decisions_make_the_same_snapshot(decided: Project) -> None:
    first = taken_by(decided, APP)
    assert taken_by(decided, APP) == first
    assert read_example_set(decided.stores, first.name) == first
    # A decision on the holdout is considered, and changes nothing that is learnt.
    again = f"t-{of_split('holdout', 0)}"
    decide(decided.stores.ledger, said(again, True, "bob"))
    derive_labels(decided.stores)
    second = taken_by(decided, APP)
    assert (second.name == first.name, second.content == first.content) == (False, True)


def test_of_other_applications_nothing_is_learnt(decided: Project) -> None:
    other = replace(APP, apps=("bank",))
    assert taken_by(decided, other).examples == ()


def test_a_sensitive_trace_is_no_example(decided: Project) -> None:
    flag = replace(said(f"t-{of_split('train', 0)}", False), reviewer="ann")
    with decided.stores.ledger.begin() as connection:
        append(connection, [(flag, None)], kind="sensitive")
    derive_labels(decided.stores)
    ids = {e.example_id for e in taken_by(decided, APP).examples}
    assert not {"1-correction", "1-failed"} & ids


def test_a_session_on_both_sides_blocks_the_run(decided: Project) -> None:
    held, taught = of_split("holdout", 5), of_split("train", 5)
    traces = [asked(user, "4", session_id="shared") for user in (held, taught)]
    add_traces(decided.stores, traces)
    for user in (held, taught):
        decide(decided.stores.ledger, said(f"t-{user}", True))
    derive_labels(decided.stores)
    with pytest.raises(Leak, match=r"session shared; nothing was trained"):
        taken_by(decided, APP)


def test_who_is_forgotten_leaves_the_snapshot(decided: Project) -> None:
    user = of_split("train", 0)
    taken = taken_by(decided, APP)
    manifest = {"training_set": taken.name, "corrections": taken.correction_ids}
    register(decided.stores.ledger, "replies", "replies-1", manifest, "replies-1", None, "ann")
    forget_user(decided, user)
    (version,) = list_versions(decided.stores.ledger, "replies")
    left = read_example_set(decided.stores, str(version.manifest["training_set"]))
    assert user in {example.group for example in taken.examples}
    assert {e.example_id for e in taken.examples if e.group != user} == {
        e.example_id for e in left.examples
    }
