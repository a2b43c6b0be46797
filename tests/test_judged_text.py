"""The text of traces for a judge: chosen on some labels, reported on the holdout, kept as settings.

The judge's model is a double: it answers by a rule, and no model is behind it.
"""

import tomllib
from dataclasses import replace

import pytest

from flywheel.corrections import derive_labels
from flywheel.errors import BadSetting, NotEnough
from flywheel.evolution.formats import judged_text
from flywheel.evolution.formats.judged_text import propose_judged_text
from flywheel.evolution.keepers import keeper_of
from flywheel.evolution.proposals import approve
from flywheel.judge.prompted import PromptedJudge
from flywheel.judge.rubric import Rubric
from flywheel.models.chat import Answer, Prompt
from flywheel.review import decide
from flywheel.settings import PROJECT_FILE
from flywheel.store import Project, open_project
from tests.chat_double import ChatDouble, last_text, replied
from tests.conftest import trace
from tests.judged import add_traces, said

N = 140
RUBRIC = Rubric("1", "Does the user say that the assistant made a mistake?")
# The last words decide, in the middle of a message they are cut away.
LONG = "It came on Monday and stands at the desk. " * 20


def judge_by(word: str, monkeypatch: pytest.MonkeyPatch) -> ChatDouble:
    """A judge that sees an error where the word stands; its tokens are a quarter of the text."""

    def rule(prompt: Prompt) -> Answer:
        text = last_text(prompt)
        return replace(replied(prompt, word in text), prompt_tokens=len(text) // 4)

    double = ChatDouble(rule)
    monkeypatch.setattr(
        judged_text,
        "configured_judge",
        lambda project, levers: PromptedJudge("j", double, RUBRIC, levers=levers),
    )
    return double


def labelled(project: Project, complaint: str) -> Project:
    """Half of the traces say `complaint`, and people said that those see an error."""
    (project.folder / PROJECT_FILE).parent.mkdir(parents=True, exist_ok=True)
    (project.folder / PROJECT_FILE).write_text("# mine\n[judge]\nfew_shots = 2\n")
    opened = open_project(project.folder)
    rows = [
        trace(f"t{n}", f"Where is {n}?", LONG, complaint if n % 2 else f"{LONG} Thank you.")
        for n in range(N)
    ]
    add_traces(opened.stores, rows)
    for n in range(N):
        decide(opened.stores.ledger, said(f"t{n}", n % 2 == 1))
    derive_labels(opened.stores)
    return opened


def test_long_messages_are_cut_where_the_judge_reads_them_no_worse(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = judge_by("wrong", monkeypatch)
    opened = labelled(project, f"That is wrong. {LONG}")
    found = propose_judged_text(opened, 100)
    n_calls = len(double.asked)
    again = propose_judged_text(opened, 100, is_dry=True)
    # What was said once is not paid for again.
    assert len(double.asked) == n_calls
    # No trace has a tool call, so that the ways with them need not be asked about.
    assert set(found.measured.ineligible) == {
        "with tool calls, messages whole",
        "with tool calls, messages cut to 100",
    }
    assert found.choice.chosen == again.choice.chosen == "without tool calls, messages cut to 100"
    assert found.proposal is not None
    figures = {one.name: one for one in found.evidence.figures}
    held = figures[f"holdout, {found.choice.chosen}: right"]
    assert held.after is not None
    assert held.after.estimate == 1
    assert held.n == N - found.choice.n
    keeper, number = keeper_of("format"), found.proposal.proposal_id
    approve(project=opened, keeper=keeper, proposal_id=number, actor="ann", why="cheap")
    text = (opened.folder / PROJECT_FILE).read_text()
    assert text.startswith("# mine\n")
    assert tomllib.loads(text)["judge"]["max_message_chars"] == 100
    opened.stores.ledger.close()


def test_messages_stay_whole_where_the_cut_takes_away_what_decides(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_by("wrong", monkeypatch)
    opened = labelled(project, f"{LONG} That is wrong. {LONG}")
    found = propose_judged_text(opened, 100)
    assert found.choice.chosen == found.choice.present == "without tool calls, messages whole"
    assert found.proposal is None
    state = {one.name: one.state for one in found.choice.arms}
    assert state["without tool calls, messages cut to 100"] == "worse"
    opened.stores.ledger.close()


def test_without_a_judge_or_labels_there_is_nothing_to_compare(project: Project) -> None:
    with pytest.raises(BadSetting, match=r"judge\.generative names no judge"):
        propose_judged_text(project, 100)
    (project.folder / PROJECT_FILE).parent.mkdir(parents=True, exist_ok=True)
    (project.folder / PROJECT_FILE).write_text(
        '[judge]\ngenerative = "j"\n[judges.j]\nmodel = "m"\nbase_url = "http://127.0.0.1:1/v1"\n'
    )
    opened = open_project(project.folder)
    with pytest.raises(NotEnough, match="labelled traces"):
        propose_judged_text(opened, 100)
    opened.stores.ledger.close()
