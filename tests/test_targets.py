"""Several targets: an application's model and a causal judge, retrained from end to end."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from flywheel.cli.main import cli
from flywheel.corrections import derive_labels
from flywheel.doctor import examine
from flywheel.errors import AddsNothing, BadArtifact, Leak, NotFound
from flywheel.in_use import generative_of, judges_of, prompt_of
from flywheel.models.adapter_card import CARD, read_card, write_card
from flywheel.models.causal_host import CausalHost
from flywheel.models.folders import adapter_called, weights_hash
from flywheel.models.tags import NAT
from flywheel.quality.audit import what_was_asked
from flywheel.records import split_of
from flywheel.registry import (
    CHALLENGER,
    CHAMPION,
    alias_of,
    card_of,
    list_versions,
    moves,
    register,
    set_alias,
)
from flywheel.retraining import (
    due_targets,
    gate_or_say,
    new_labels,
    retrain,
    retrain_all_due,
    retrain_if_due,
    take_set,
    train,
)
from flywheel.review import decide
from flywheel.review.rows import append
from flywheel.store import Project, open_project
from flywheel.store.tables import lineage
from flywheel.training.challenger import TRAININGS, labels_since_training
from flywheel.training.examples.snapshot import ExampleSet
from flywheel.training.targets import JUDGE, Target, target_named, targets_of
from tests.judged import add_traces, said
from tests.test_tags import CARD_OF_NAT, adapter_in
from tests.tiny_causal import write_tiny

SETTINGS = """
[compute]
threads = 1
[training]
rank = 16
epochs = 8
negatives_a_positive = 0.5
min_corrections = 20
learning_rates = [0.01]
[gate]
promotion = "auto"
min_positives = 3
min_discordant = 3
margin = 0.49
[judges.small]
kind = "local"
model = "{base}"
[targets.replies]
kind = "app"
apps = ["shop"]
base = "{base}"
arm = "nat"
[targets.judged]
kind = "chat-judge"
judge = "small"
arm = "vanilla"
"""
N_TRACES = 60


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers and random weights that reads bytes."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    return write_tiny(folder, max_position_embeddings=8192)


def add_decided(project: Project, app: str = "shop", first: int = 0, n: int = N_TRACES) -> None:
    """Traces in which one colour was said and another was right: corrected, accepted and failed."""
    traces, words = [], []
    for i in range(first, first + n):
        name, is_wrong = f"{app}-{i}", i % 3 != 1
        turns = [("user", "Which colour?"), ("assistant", "red" if is_wrong else "blue")]
        messages = [{"role": r, "content": t} for r, t in [*turns, ("user", f"Well, {i}.")]]
        traces.append({"trace_id": name, "app": app, "session_id": name, "messages": messages})
        words.append(
            said(
                name,
                is_wrong,
                is_audit=True,
                draw_probability=1.0,
                corrected_turn=1,
                corrected_text="blue",
            )
            if i % 3 == 0
            else said(name, is_wrong, is_audit=True, draw_probability=1.0)
        )
    add_traces(project.stores, traces)
    with project.stores.ledger.begin() as connection:
        append(connection, [(word, None) for word in words])
    derive_labels(project.stores)


@pytest.fixture
def opened(tmp_path: Path, base: Path) -> Iterable[Project]:
    """A project with both causal targets, and decided traces of one application."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "flywheel.toml").write_text(SETTINGS.format(base=base), encoding="utf-8")
    made = open_project(folder)
    add_decided(made)
    yield made
    made.stores.ledger.close()


def test_targets_are_the_judge_and_those_of_the_settings(opened: Project, base: Path) -> None:
    assert targets_of(opened.settings) == [
        JUDGE,
        Target("replies", "app", ("shop",), str(base), "", "nat"),
        # The base of a causal judge is the model of its [judges.NAME].
        Target("judged", "chat-judge", (), str(base), "small", "vanilla"),
    ]
    with pytest.raises(NotFound, match="did you mean 'replies'"):
        target_named(opened.settings, "reply")


def test_an_applications_model_is_retrained_gated_and_promoted(opened: Project, base: Path) -> None:
    replies, ledger = target_named(opened.settings, "replies"), opened.stores.ledger
    verdict = retrain(opened, target=replies)
    before, after = verdict.champion, verdict.challenger
    assert before.startswith("replies-base-")
    made = next(v for v in list_versions(ledger, "replies") if v.version == after)
    assert made.parent == before
    assert (made.manifest["arm"], made.manifest["target_kind"]) == ("nat", "app")

    # What it was made of, both ways.
    taken = take_set(opened, replies)
    assert isinstance(taken, ExampleSet)
    assert made.manifest["content"] == taken.content
    with ledger.read() as connection:
        rows = connection.execute(sa.select(lineage).where(lineage.c.version == after)).all()
    assert {row.decision_id: row.part for row in rows} == taken.learnt
    assert {row.part for row in rows} == {"train", "validation", "calibration"}

    # The adapter carries its tag, and has learnt: asked with it, the answer is the correction's.
    folder = opened.stores.artifacts.path("adapters", after)
    card = read_card(folder)
    assert card is not None
    assert (card.tag, card.arm, card.training_set) == (NAT, "nat", taken.name)
    host = CausalHost(base)
    host.use(folder)
    assert host.generate([[{"role": "user", "content": "Which colour?"}]], 4) == ["blue"]
    assert verdict.passed, verdict.why
    champion = alias_of(ledger, "replies", CHAMPION)
    assert champion is not None
    assert champion.version == after
    # Nothing of the training is left beside it.
    assert list((opened.stores.artifacts.root / TRAININGS / "replies").iterdir()) == []

    # The same labels add nothing, and no new one is there.
    with pytest.raises(AddsNothing, match="the same examples with the same settings"):
        train(opened, taken, target=replies)
    assert labels_since_training(opened.stores, replies).count == 0
    assert "0 new labels" in retrain_if_due(opened, target=replies)

    # Without its card it is not run.
    copy = Path(shutil.copytree(folder, opened.folder / "copy"))
    (copy / CARD).unlink()
    with pytest.raises(BadArtifact, match="has lost its"):
        CausalHost(base).use(copy)


def test_each_target_counts_the_labels_that_it_has_not_considered(opened: Project) -> None:
    found = {name: labels.count for name, labels in new_labels(opened).items()}
    assert found == {"judge": N_TRACES, "replies": N_TRACES, "judged": N_TRACES}
    add_decided(opened, "bank", n=6)
    found = {name: labels.count for name, labels in new_labels(opened).items()}
    assert found == {"judge": N_TRACES + 6, "replies": N_TRACES, "judged": N_TRACES + 6}
    considered = {"considered": [str(i) for i in range(1, N_TRACES + 1)]}
    ledger = opened.stores.ledger
    register(ledger, "judged", "judged-1", considered, "judged-1", None, "ann")
    assert labels_since_training(opened.stores, JUDGE).count == N_TRACES + 6
    # 20 new labels make a target due; 6 make it due only where nothing else is.
    assert [target.name for target in due_targets(opened)] == ["judge", "replies"]
    register(ledger, "judge", "judge-1", considered, "judge-1", None, "ann")
    register(ledger, "replies", "replies-1", considered, "replies-1", None, "ann")
    assert [target.name for target in due_targets(opened)] == ["judge", "judged"]


def test_a_target_without_its_model_keeps_no_other_back(opened: Project) -> None:
    shutil.rmtree(opened.folder)
    opened.folder.mkdir()
    text = SETTINGS.format(base="no/such/folder").replace(
        "min_corrections = 20", "min_corrections = 1"
    )
    (opened.folder / "flywheel.toml").write_text(text, encoding="utf-8")
    other = open_project(opened.folder)
    add_decided(other, n=6)
    said_of = retrain_all_due(other)
    assert "labelled perceived errors" in said_of["judge"]
    assert said_of["replies"].startswith("no retraining: there is no causal model")
    other.stores.ledger.close()


def test_a_session_of_the_holdout_among_the_examples_blocks_every_target(opened: Project) -> None:
    users = [f"u{i}" for i in range(50)]
    held = next(user for user in users if split_of("s", user) == "holdout")
    taught = next(user for user in users if split_of("s", user) == "train")
    messages = [{"role": role, "content": "grey"} for role in ("user", "assistant", "user")]
    own: dict[str, object] = {"app": "shop", "session_id": "s", "messages": messages}
    add_traces(opened.stores, [{"trace_id": u, "user_id": u} | own for u in (held, taught)])
    for user in (held, taught):
        decide(opened.stores.ledger, said(user, True))
    derive_labels(opened.stores)
    with pytest.raises(Leak, match="nothing was trained"):
        retrain(opened, target=target_named(opened.settings, "replies"))
    with pytest.raises(Leak, match="nothing was trained"):
        retrain_all_due(opened)


def test_a_causal_judge_is_retrained_on_replies_to_the_rubric(opened: Project) -> None:
    settings = opened.settings.training.model_copy(update={"max_tokens": 8192, "epochs": 1})
    project = replace(opened, settings=opened.settings.model_copy(update={"training": settings}))
    judged = target_named(project.settings, "judged")
    taken = take_set(project, judged)
    assert isinstance(taken, ExampleSet)
    few = replace(taken, examples=(*taken.train[:6], *taken.validation[:2]))
    made = train(project, few, target=judged)
    assert made.manifest["prompt_hash"]
    ledger = project.stores.ledger
    champion, challenger = (alias_of(ledger, "judged", a) for a in (CHAMPION, CHALLENGER))
    assert champion is not None
    assert champion.version.startswith("judged-base-")
    assert challenger is not None
    assert challenger.version == made.version
    card = read_card(project.stores.artifacts.path("adapters", made.version))
    assert card is not None
    assert (card.target_kind, card.tag) == ("chat-judge", None)

    # Its runs name the adapter, by which its labels are known to be learnt.
    before = generative_of(project, "small")
    set_alias(ledger, "judged", CHAMPION, made.version, "ann", "")
    after = generative_of(project, "small")
    assert before is not None
    assert after is not None
    assert "+" not in before.version
    assert after.version.partition("+")[2] == adapter_called(made.version)
    with project.stores.warehouse.open() as connection, what_was_asked(project.stores, connection):
        known = connection.raw.sql("from learnt").fetchall()
    assert {judge for judge, _ in known} == {adapter_called(made.version)}
    assert len(known) == len(few.correction_ids)

    # Another rubric than it was trained with is said by the doctor and on its page.
    name = made.version
    assert "target judged" not in {found.name for found in examine(project.folder)}
    assert "another prompt" not in " ".join(
        card_of(project.stores, "judged", name, prompt_of(project)).limits
    )
    project.metrics_dir.mkdir(exist_ok=True)
    rubric = "Is anybody cross?"
    (project.metrics_dir / "perceived_error.md").write_text(rubric, encoding="utf-8")
    [warned] = [found for found in examine(project.folder) if found.name == "target judged"]
    assert (warned.state, name in warned.sentence) == ("warning", True)
    assert "another prompt" in card_of(project.stores, "judged", name, prompt_of(project)).limits[0]


def test_a_training_that_ended_and_was_not_registered_is_not_done_again(
    opened: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies, ledger = target_named(opened.settings, "replies"), opened.stores.ledger
    settings = opened.settings.training.model_copy(update={"epochs": 1})
    project = replace(opened, settings=opened.settings.model_copy(update={"training": settings}))
    taken, steps = take_set(project, replies), []

    def count(done: int, _: int) -> None:
        steps.append(done)

    with monkeypatch.context() as killed:
        move = moves._move

        def dies(connection: sa.Connection, action: str, of: str, alias: str, *how: str) -> object:
            if alias == CHALLENGER:
                raise KeyboardInterrupt
            return move(connection, action, of, alias, *how)

        killed.setattr(moves, "_move", dies)
        with pytest.raises(KeyboardInterrupt):
            train(project, taken, count, replies)
    # A version is there as the challenger, or not at all.
    assert [version.artifact for version in list_versions(ledger, "replies")] == [None]
    assert steps
    steps.clear()
    made = train(project, taken, count, replies)
    assert steps == []
    challenger = alias_of(ledger, "replies", CHALLENGER)
    assert challenger is not None
    assert challenger.version == made.version
    assert list((opened.stores.artifacts.root / TRAININGS / "replies").iterdir()) == []


def test_a_champion_of_another_base_is_named_and_neither_run_nor_compared(
    opened: Project, base: Path
) -> None:
    ledger, artifacts = opened.stores.ledger, opened.stores.artifacts
    with artifacts.new_folder("adapters", "old") as folder:
        write_card(adapter_in(folder), CARD_OF_NAT)
    for name in ("replies", "judged"):
        manifest = {"base_hash": CARD_OF_NAT.base_hash}
        register(ledger, name, f"old-{name}", manifest, "old", None, "ann")
        manifest = {"base_hash": weights_hash(base)}
        register(ledger, name, f"new-{name}", manifest, f"new-{name}", None, "ann")
        set_alias(ledger, name, CHAMPION, f"old-{name}", "ann", "")
        set_alias(ledger, name, CHALLENGER, f"new-{name}", "ann", "")
        found = gate_or_say(opened, target_named(opened.settings, name))
        assert str(found).startswith(f"old-{name} of {name} is of another base than {base}")
    # The day's judge is without it, and says why.
    with pytest.raises(BadArtifact, match=r"of tiny, and .* name that base again"):
        generative_of(opened, "small")
    wanted = opened.settings.judge.model_copy(update={"generative": "small"})
    settings = opened.settings.model_copy(update={"judge": wanted})
    [judge] = judges_of(replace(opened, settings=settings))
    assert judge.generative is None
    assert "name that base again" in judge.missing


def test_a_training_in_vain_is_not_done_twice(
    opened: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def fit(*_: object) -> object:
        done.append(1)
        return SimpleNamespace(adds_nothing=True, steps=7)

    monkeypatch.setattr("flywheel.training.adapters.fit_causal", fit)
    replies = target_named(opened.settings, "replies")
    said_of = [retrain_if_due(opened, target=replies) for _ in range(2)]
    assert said_of[0] == said_of[1]
    assert "after 7 steps the loss" in said_of[0]
    assert len(done) == 1
    add_decided(opened, first=N_TRACES, n=20)
    retrain_if_due(opened, target=replies)
    assert len(done) == 2


def test_the_commands_freeze_and_retrain_a_target(opened: Project) -> None:
    command = ["--project", str(opened.folder), "training"]
    frozen = CliRunner().invoke(cli, [*command, "freeze", "--target", "replies", "--json"])
    assert frozen.exit_code == 0
    found = json.loads(frozen.stdout)
    assert found["learnt from"]["good"] > found["learnt from"]["failures"] > 0
    assert found["left out"]["negative: more than its share"] > 0
    refused = CliRunner().invoke(cli, [*command, "retrain", "--target", "replie"])
    assert isinstance(refused.exception, NotFound)
