"""Two judges on a project's holdout: what is compared, what is left out, and what breaks."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from flywheel.corrections import derive_labels
from flywheel.errors import Leak, NotEnough
from flywheel.gate.general import general_conversations
from flywheel.gate.holdout import judge_challenger
from flywheel.gate.readings import languages_of_texts
from flywheel.judge.calibration import Calibration
from flywheel.judge.judge import Judge
from flywheel.judge.prompted import PromptedJudge
from flywheel.judge.reactions import Reaction
from flywheel.judge.rubric import load_rubric
from flywheel.metrics.checks.language import _identifier
from flywheel.models.chat import Answer, Prompt
from flywheel.records import split_of
from flywheel.review.rows import append
from flywheel.settings import GateSettings
from flywheel.store import Project, Stores
from flywheel.store.ledger import now
from flywheel.store.tables import decisions, lineage, versions
from flywheel.traces.conversations import InputLevers
from flywheel.training.dataset import KIND
from tests.chat_double import ChatDouble, last_text, replied
from tests.conftest import write_lines
from tests.judged import add_scores, add_traces, said

SETTINGS = GateSettings()
USERS = [f"u{k}" for k in range(3_000)]
HELD = [user for user in USERS if split_of("", user) == "holdout"]
TAUGHT = [user for user in USERS if split_of("", user) == "train"]


@dataclass(frozen=True)
class Sure:
    """A tier that sees an error where the user says one of its words."""

    words: tuple[str, ...]
    tier: str = "lexical"
    pooling: str = "last"

    @property
    def version(self) -> str:
        return "sure-" + "-".join(self.words)

    def read(self, reactions: Sequence[Reaction]) -> tuple[np.ndarray, np.ndarray]:
        sees = [any(word in r.text for word in self.words) for r in reactions]
        return np.where(sees, 3.0, -3.0), np.zeros((len(reactions), 8))


def judge_of_words(*words: str) -> Judge:
    return Judge({"lexical": Sure(words)}, {"lexical": Calibration()}, InputLevers(), "lexical")


COLD, BETTER = judge_of_words("wrong"), judge_of_words("wrong", "grey")


def label(project: Project, users: Iterable[str], apps: Sequence[str] = ("shop",)) -> None:
    """A trace a user, every third an error: half of those say `wrong`, and the others `grey`."""
    traces, decided = [], []
    for k, user in enumerate(users):
        is_error = k % 3 == 0
        reaction = ("wrong", "grey")[k % 2] if is_error else "thanks"
        texts = (f"Where is parcel {user}?", f"At desk {user}.", f"It is {reaction}, {user}.")
        roles = ("user", "assistant", "user")
        messages = [{"role": r, "content": c} for r, c in zip(roles, texts, strict=True)]
        app = apps[k % len(apps)]
        own = {"app": app, "session_id": f"s-{user}", "user_id": user}
        traces.append({"trace_id": user, "messages": messages} | own)
        decided.append(said(user, is_error, is_audit=True, draw_probability=0.5))
    add_traces(project.stores, traces)
    with project.stores.ledger.begin() as ledger:
        append(ledger, [(decision, None) for decision in decided])
    derive_labels(project.stores)


def general(tmp_path: Path, n: int = 80) -> Path:
    rows = [
        {
            "trace_id": f"g{k}",
            "messages": [
                {"role": "user", "content": f"question {k}"},
                {"role": "assistant", "content": "an answer"},
                {"role": "user", "content": "wrong" if k % 2 else "fine"},
            ],
            "label": {"perceived_error": bool(k % 2)},
        }
        for k in range(n)
    ]
    return write_lines(tmp_path / "general.jsonl", rows)


def enter(stores: Stores, version: str, learnt: Sequence[str], training_set: str = "") -> None:
    """Register a version that has learnt from all decisions on these traces."""
    manifest = json.dumps({"training_set": training_set} if training_set else {})
    with stores.ledger.begin() as ledger:
        ledger.execute(
            versions.insert().values(
                version=version, target="judge", manifest=manifest, created_at=now()
            )
        )
        ids = ledger.scalars(
            sa.select(decisions.c.decision_id).where(decisions.c.trace_id.in_(learnt))
        ).all()
        rows = [{"version": version, "decision_id": i, "part": "train"} for i in ids]
        if rows:
            ledger.execute(lineage.insert(), rows)


def snapshot(stores: Stores, rows: Sequence[dict[str, object]]) -> str:
    with stores.artifacts.new_file(KIND, ".parquet") as file:
        pq.write_table(pa.Table.from_pylist(list(rows)), file.path)
    return file.name


def gated(project: Project, file: Path, champion=COLD, challenger=BETTER, **more: object):
    return judge_challenger(project.stores, champion, challenger, SETTINGS, general=file, **more)


def test_a_judge_that_sees_more_passes_and_is_shown_by_slices(
    project: Project, tmp_path: Path
) -> None:
    label(project, HELD[:150], apps=("shop", "desk"))
    verdict, items = gated(project, general(tmp_path))
    assert verdict.passed
    assert len(items) == 150
    assert {s.name: s.state for s in verdict.suites} == {"regression": "absent", "general": "held"}
    kinds = {s.kind for s in verdict.slices}
    # Too little is said to tell the language.
    assert kinds == {"app", "reason_code", "length"}
    # Of one application alone, if the target is of that alone.
    _, of_shop = gated(project, general(tmp_path), apps=["shop"], target="shop-judge")
    assert {item.app for item in of_shop} == {"shop"}
    assert len(of_shop) == 75


def test_a_judge_that_forgets_what_is_general_is_refused(project: Project, tmp_path: Path) -> None:
    label(project, HELD[:150])
    forgets = judge_of_words("wrong, u", "grey")
    verdict, _ = gated(project, general(tmp_path), challenger=forgets)
    assert not verdict.passed
    (suite,) = [s for s in verdict.suites if s.name == "general"]
    assert (suite.state, suite.losses, suite.challenger_rate) == ("broken", 40, 0.5)


def test_what_the_champion_was_put_right_on_may_not_break_again(
    project: Project, tmp_path: Path
) -> None:
    """The judge before it was wrong about every error of the training; the champion learnt them."""
    label(project, HELD[:150] + TAUGHT[:60])
    errors = TAUGHT[:60:3]
    add_scores(project.stores, dict.fromkeys(TAUGHT[:60], 0.1), judge="judge-0/lexical")
    enter(project.stores, COLD.version, TAUGHT[:60])
    # It is better on the holdout, and of the users of the training it hears only `grey`.
    words = ["grey", *(f"wrong, {user}." for user in HELD[:150])]
    verdict, _ = gated(project, general(tmp_path), challenger=judge_of_words(*words))
    (suite,) = [s for s in verdict.suites if s.name == "regression"]
    assert suite.n == len(errors) == 20
    assert (suite.wins, suite.losses, suite.state) == (10, 10, "held")
    words = [f"{word}, {user}." for word in ("wrong", "grey") for user in HELD[:150]]
    verdict, _ = gated(project, general(tmp_path), challenger=judge_of_words(*words))
    (suite,) = [s for s in verdict.suites if s.name == "regression"]
    assert (suite.wins, suite.losses, suite.state) == (0, 10, "broken")
    assert not verdict.passed


def test_a_session_of_the_holdout_in_the_challengers_training_set_blocks_the_look(
    project: Project, tmp_path: Path
) -> None:
    label(project, HELD[:90])
    row = {"trace_id": "x", "session_id": "other", "user_id": HELD[5], "turns": [{"text": "hi"}]}
    enter(project.stores, BETTER.version, (), snapshot(project.stores, [row]))
    with pytest.raises(Leak, match=f"such as {HELD[5]}; nothing was decided"):
        gated(project, general(tmp_path))


def test_a_session_may_have_the_name_of_a_user_of_the_holdout(
    project: Project, tmp_path: Path
) -> None:
    label(project, HELD[:90])
    row = {"trace_id": "x", "session_id": HELD[5], "user_id": "other", "turns": [{"text": "hi"}]}
    enter(project.stores, BETTER.version, (), snapshot(project.stores, [row]))
    assert len(gated(project, general(tmp_path))[1]) == 90


def test_a_decision_of_the_holdout_in_the_challengers_lineage_blocks_the_look(
    project: Project, tmp_path: Path
) -> None:
    label(project, HELD[:90])
    enter(project.stores, BETTER.version, [HELD[7]])
    with pytest.raises(Leak, match=HELD[7]):
        gated(project, general(tmp_path))


def test_items_whose_text_was_learnt_are_left_out_and_counted(
    project: Project, tmp_path: Path
) -> None:
    label(project, HELD[:150])
    user = HELD[3]
    texts = (f"Where is  parcel {user}?", f"At desk {user}.", f"IT IS grey, {user}.")
    learnt = {"trace_id": "x", "session_id": "s-x", "user_id": "x"}
    row = learnt | {"turns": [{"text": text} for text in texts]}
    at_large = {"trace_id": "y", "session_id": "s-y", "user_id": "y"} | {
        "turns": [{"text": text} for text in ("question 1", "an answer", "wrong")]
    }
    enter(project.stores, BETTER.version, (), snapshot(project.stores, [row, at_large]))
    # The champion has learnt from a user who belongs to the holdout by now.
    other = [learnt | {"user_id": HELD[4], "turns": [{"text": "something else"}]}]
    enter(project.stores, COLD.version, (), snapshot(project.stores, other))
    verdict, items = gated(project, general(tmp_path))
    assert {user, HELD[4]}.isdisjoint(item.trace_id for item in items)
    assert verdict.left_out == {"said in what either side has learnt from": 2}
    assert [s.n for s in verdict.suites] == [0, 79]


# A causal model that judges


def prompted(project: Project, name: str, rule) -> PromptedJudge:
    return PromptedJudge(name, ChatDouble(rule, name), load_rubric(project.metrics_dir))


def sees(prompt: Prompt) -> bool:
    return "wrong" in last_text(prompt).split("Does the user")[0]


def sees_more(prompt: Prompt) -> bool:
    return sees(prompt) or "grey" in last_text(prompt)


def test_a_chat_judge_goes_through_the_same_gate(project: Project, tmp_path: Path) -> None:
    label(project, HELD[:110])
    old, new = prompted(project, "old", sees), prompted(project, "new", sees_more)
    names = ("base", "adapter-1")
    verdict, _ = gated(
        project, general(tmp_path), old, new, target="chat", versions=names, apps=["shop"]
    )
    assert verdict.passed
    assert (verdict.champion, verdict.challenger) == names
    assert {s.name: s.state for s in verdict.suites} == {
        "regression": "absent",
        "general": "held",
        "malformed": "held",
    }
    # What was asked is not asked again.
    assert isinstance(new.model, ChatDouble)
    n_asked = len(new.model.asked)
    gated(project, general(tmp_path), old, new, target="chat", versions=names, apps=["shop"])
    assert len(new.model.asked) == n_asked


def test_replies_that_cannot_be_read_are_wrong_and_malformed(
    project: Project, tmp_path: Path
) -> None:
    label(project, HELD[:110])

    def mumbles(prompt: Prompt) -> Answer | bool:
        is_one = sum(map(ord, prompt.key)) % 4 == 0
        return replace(replied(prompt, True), text="I think so") if is_one else sees_more(prompt)

    old, new = prompted(project, "old", sees), prompted(project, "new", mumbles)
    verdict, items = gated(project, general(tmp_path), old, new, target="chat")
    silent = [item for item in items if item.challenger is None]
    assert silent
    assert not any(item.challenger_right for item in silent)
    (malformed,) = [s for s in verdict.suites if s.name == "malformed"]
    assert (malformed.losses, malformed.state) == (len(silent), "broken")
    assert not verdict.passed


def test_a_model_that_cannot_be_asked_gives_no_verdict(project: Project, tmp_path: Path) -> None:
    label(project, HELD[:90])
    fails = prompted(project, "new", lambda _: Answer("", failure="failed", why="no answer"))
    with pytest.raises(NotEnough, match="the first: no answer"):
        gated(project, general(tmp_path), prompted(project, "old", sees), fails)


def test_languages_are_read_where_the_extra_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        "Could you please tell me where the parcel is that I ordered last week?",
        "Können Sie mir bitte sagen, wo das Paket ist, das ich letzte Woche bestellt habe?",
        "ok",
    ]
    assert languages_of_texts(texts) == (["en", "de", None], ())
    _identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    why = "No slice by language: needs py3langid: pip install 'flywheel-loop[language]'."
    assert languages_of_texts(texts) == ([None] * 3, (why,))


def test_the_bundled_sample_is_the_general_suite_where_no_file_is_named() -> None:
    found = general_conversations(None, InputLevers())
    assert len(found) == 300
    assert 0 < sum(row.perceived_error for row in found) < 300
    assert all(row.conversation.is_eligible for row in found)
