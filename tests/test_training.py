"""Training: what is learnt and from what, the adapter, the training set, and the way to the top."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from flywheel.corrections import derive_labels
from flywheel.errors import AddsNothing, BadArtifact, Leak, NotEnough
from flywheel.gate.holdout import TARGET
from flywheel.in_use import embedder_of, judge_of, levers_of
from flywheel.judge.certifying import Goal
from flywheel.judge.encoder import FrozenModel
from flywheel.judge.files import load_judge, save_judge
from flywheel.judge.judge import Judge
from flywheel.judge.lora import LoraModel, base_model
from flywheel.judge.scoring import score_day
from flywheel.models.embedder import BUNDLED, Embedder, load_embedder
from flywheel.records import LabelledConversation, split_of
from flywheel.registry import (
    CHALLENGER,
    CHAMPION,
    alias_of,
    count_lineage,
    list_versions,
    register,
    rollback,
    set_alias,
)
from flywheel.retraining import follow_gate, gate, retrain_if_due, targets_to_gate, train
from flywheel.review import decide, undo
from flywheel.review.rows import append
from flywheel.settings import RetrievalSettings, TargetSettings, TrainingSettings
from flywheel.store import Project, Stores, open_project
from flywheel.traces.conversations import InputLevers
from flywheel.traces.sampling import sample_day
from flywheel.training.challenger import (
    Challenger,
    about_judge,
    labels_since_training,
    train_challenger,
)
from flywheel.training.dataset import read_training_set, take_training_set
from flywheel.training.fit import FitReport, fit_judge
from flywheel.training.lora import LoraFit, fit_lora
from flywheel.training.selection import leanings, material_of
from flywheel.training.targets import Target, target_named
from tests.conftest import write_lines
from tests.judged import DAY, add_traces, said
from tests.made_up import made_up
from tests.registered import compare

LEVERS = InputLevers()
SMALL = TrainingSettings(rank=2, epochs=1)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    """The bundled embedder, loaded once."""
    return load_embedder(BUNDLED, 1)


# Fitting


@pytest.fixture(scope="module")
def fitted(embedder: Embedder) -> tuple[Judge, FitReport]:
    """A judge without an adapter, fitted on 48 conversations of two reactions each."""
    return fit_judge(made_up(48, n_rounds=2), [], embedder, LEVERS, SMALL, with_lora=False)


def test_both_tiers_learn_what_a_small_set_teaches(fitted: tuple[Judge, FitReport]) -> None:
    judge, report = fitted
    assert (report.n, report.positives, report.lora) == (48, 24, None)
    for fit in report.tiers.values():
        assert fit.cv_auc > 0.9
        assert fit.cv_auc == pytest.approx(np.mean(fit.fold_aucs))
    assert list(judge.models) == ["lexical", "frozen"]
    assert judge.best == report.best == "frozen"
    assert "LoRA was not trained" in report.why
    assert json.loads(json.dumps(report.as_dict()))["tiers"]["lexical"]["c"] > 0


def test_a_fitted_judge_is_right_about_conversations_that_it_has_not_seen(
    fitted: tuple[Judge, FitReport],
) -> None:
    judge, _ = fitted
    rows = made_up(40, seed=11, n_rounds=2)
    conversations = [row.conversation for row in rows]
    for tier in judge.models:
        verdicts = judge.verdicts(conversations, judge.opinions(conversations, tier), tier)
        right = [
            v.perceived_error == r.perceived_error for v, r in zip(verdicts, rows, strict=True)
        ]
        assert sum(right) >= 36


def test_the_same_labels_and_seed_give_the_same_judge(
    fitted: tuple[Judge, FitReport], embedder: Embedder
) -> None:
    again, _ = fit_judge(made_up(48, n_rounds=2), [], embedder, LEVERS, SMALL, with_lora=False)
    assert again.version == fitted[0].version


def test_folds_share_no_session() -> None:
    rows = made_up(40)
    folds = material_of(rows).folds(seed=0)
    assert len(folds) == 5
    assert sorted(i for _, held_out in folds for i in held_out) == list(range(40))
    for fit_on, held_out in folds:
        assert not {rows[i].group for i in fit_on} & {rows[i].group for i in held_out}


def test_a_trace_teaches_by_the_turn_that_people_pointed_at() -> None:
    # Turns 2, 4 and 6 are reactions; 3 is an answer.
    rows = [
        replace(row, evidence_turn=turn)
        for row, turn in zip(made_up(4, n_rounds=3), [None, 2, 4, 3], strict=True)
    ]
    material = material_of(rows)
    assert [material.reactions[i].position for i in material.taught] == [6, 2, 4, 6]


def test_an_error_in_the_middle_is_learnt_where_people_pointed_at_it(embedder: Embedder) -> None:
    rows = []
    for row in made_up(48, n_rounds=2):
        first, last = row.conversation.turns[2], row.conversation.turns[4]
        turns = (
            *row.conversation.turns[:2],
            replace(first, text=last.text),
            row.conversation.turns[3],
            replace(last, text=first.text),
        )
        conversation = replace(row.conversation, turns=turns)
        rows.append(replace(row, conversation=conversation, evidence_turn=2))
    judge, report = fit_judge(rows, [], embedder, LEVERS, SMALL, with_lora=False)
    assert {fit.pooling for fit in report.tiers.values()} == {"worst"}
    assert report.tiers["frozen"].cv_auc > 0.9
    conversations = [row.conversation for row in rows if row.perceived_error]
    opinions = judge.opinions(conversations, "frozen")
    assert np.mean([opinion.position == 2 for opinion in opinions]) > 0.9


def test_similar_corrections_of_the_own_session_have_no_say(embedder: Embedder) -> None:
    one, other = made_up(2)
    known = [
        replace(one, group="a"),
        replace(one, group="a"),
        replace(other, group="b"),
        replace(other, group="b"),
    ]
    # Each has its own double beside it, and hears the other session alone.
    said_of_them = leanings(known, known, embedder, RetrievalSettings())
    assert said_of_them.tolist() == [-1.0, -1.0, 1.0, 1.0]
    assert leanings(known[:2], known[:2], embedder, RetrievalSettings()).tolist() == [0.0, 0.0]


def test_a_calibration_part_of_its_own_decides_the_probabilities(embedder: Embedder) -> None:
    rows = made_up(40)
    # In the calibration part three of four errors are none after all.
    held = [
        replace(row, perceived_error=row.perceived_error and i % 8 == 0)
        for i, row in enumerate(made_up(80, seed=7))
    ]
    trusting, _ = fit_judge(rows, [], embedder, LEVERS, SMALL, with_lora=False)
    doubting, _ = fit_judge(rows, held, embedder, LEVERS, SMALL, with_lora=False)
    assert trusting.models["frozen"].version == doubting.models["frozen"].version
    conversations = [row.conversation for row in made_up(40, seed=8) if row.perceived_error]
    means = [
        np.mean([v.probability for v in judge.verdicts(conversations, opinions, "frozen")])
        for judge in (trusting, doubting)
        for opinions in [judge.opinions(conversations, "frozen")]
    ]
    assert means[0] > 0.7 > 0.5 > means[1]


# The adapter


@dataclass(frozen=True)
class Adapted:
    """An adapter on the frozen tier of a judge, and how it was trained."""

    frozen: FrozenModel
    rows: Sequence[LabelledConversation]
    model: LoraModel
    fit: LoraFit
    judge: Judge


def _adapt(frozen: FrozenModel, rows: Sequence[LabelledConversation]) -> tuple[LoraModel, LoraFit]:
    """Train an adapter as if the frozen tier knew nothing."""
    material = material_of(rows)
    settings = TrainingSettings(rank=2, epochs=2)
    return fit_lora(frozen, material, np.zeros(len(material.reactions)), settings)


@pytest.fixture(scope="module")
def adapted(fitted: tuple[Judge, FitReport]) -> Adapted:
    """An adapter of rank 2, trained on 60 conversations."""
    judge, _ = fitted
    frozen, rows = judge.models["frozen"], made_up(60, seed=1)
    assert isinstance(frozen, FrozenModel)
    model, fit = _adapt(frozen, rows)
    judge = replace(
        judge,
        models={**judge.models, "lora": model},
        calibrations={**judge.calibrations, "lora": judge.calibrations["frozen"]},
        best="lora",
    )
    return Adapted(frozen, rows, model, fit, judge)


def test_every_linear_layer_has_an_adapter_the_mlp_too(adapted: Adapted) -> None:
    import torch
    from peft.tuners.lora import LoraLayer

    linear = {
        name
        for name, module in base_model(adapted.frozen.embedder).named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    with_adapter = {
        name.removeprefix("base_model.model.")
        for name, module in adapted.model.encoder.model.named_modules()
        if isinstance(module, LoraLayer)
    }
    assert with_adapter == linear
    # Six layers: query, key, value, attention output; intermediate and output.
    assert sum("encoder.layer" in name for name in linear) == 36
    # 2 * (384 + 384) a matrix of attention, 2 * (384 + 1536) a matrix of the MLP.
    assert adapted.fit.trainable == {"attention": 6 * 4 * 1536, "mlp": 6 * 2 * 3840}


def test_with_the_adapter_off_the_encoder_is_the_base(adapted: Adapted) -> None:
    import torch

    tokens = adapted.model.encoder.tokens(material_of(adapted.rows[:4]).reactions)
    base = base_model(adapted.frozen.embedder).eval()
    encoder = adapted.model.encoder
    with torch.inference_mode():
        for row in tokens:
            plain = base(input_ids=torch.tensor([row])).last_hidden_state.mean(1)
            with encoder.model.disable_adapter():
                assert torch.equal(encoder.pooled([row]), plain)
            assert not torch.equal(encoder.pooled([row]), plain)


def test_an_adapter_that_learns_is_kept(adapted: Adapted) -> None:
    assert adapted.fit.epochs > 0
    assert adapted.fit.n_train + adapted.fit.n_validation == 60
    assert adapted.fit.auc_frozen == 0.5
    assert adapted.fit.auc_gain > 0.2


def test_the_same_seed_gives_the_same_adapter(adapted: Adapted) -> None:
    again, _ = _adapt(adapted.frozen, adapted.rows)
    assert again.version == adapted.model.version
    assert again.coef.tolist() == adapted.model.coef.tolist()


def test_where_there_is_nothing_to_mend_the_frozen_logits_stay(adapted: Adapted) -> None:
    material = material_of(adapted.rows)
    perfect = np.where(material.truth, 1000.0, -1000.0)
    model, fit = fit_lora(adapted.frozen, material, perfect, SMALL)
    assert (fit.epochs, fit.auc_gain) == (0, 0.0)
    logits, codes = model.read(material.reactions)
    of_frozen, codes_of_frozen = adapted.frozen.read(material.reactions)
    assert logits.tolist() == of_frozen.tolist()
    assert codes.tolist() == codes_of_frozen.tolist()


PLAIN_PEFT = """
import json, sys, torch
from peft import PeftModel
from transformers import AutoModel
base, folder, ids = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModel.from_pretrained(base), folder).eval()
with torch.inference_mode():
    hidden = model(input_ids=torch.tensor([json.loads(ids)])).last_hidden_state
print(json.dumps(hidden.mean(1)[0].tolist()))
"""


def test_a_saved_judge_loads_with_plain_peft_in_another_process(
    adapted: Adapted, tmp_path: Path
) -> None:
    save_judge(adapted.judge, tmp_path, {})
    reactions = material_of(adapted.rows[:1]).reactions
    ids = json.dumps(adapted.model.encoder.tokens(reactions)[0])
    ended = subprocess.run(
        [sys.executable, "-c", PLAIN_PEFT, adapted.frozen.embedder.folder, tmp_path, ids],
        check=True,
        capture_output=True,
        text=True,
    )
    elsewhere = np.array(json.loads(ended.stdout))
    np.testing.assert_allclose(elsewhere, adapted.model.encoder.vectors(reactions)[0], atol=1e-6)


def test_a_judge_with_an_adapter_is_read_back_as_it_was(
    adapted: Adapted, embedder: Embedder, tmp_path: Path
) -> None:
    save_judge(adapted.judge, tmp_path, {})
    loaded = load_judge(tmp_path, embedder)
    assert loaded.version == adapted.judge.version
    conversations = [row.conversation for row in made_up(6, seed=5)]
    assert loaded.opinions(conversations, "lora") == adapted.judge.opinions(conversations, "lora")
    weights = tmp_path / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-6] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(BadArtifact, match="is not the judge-"):
        load_judge(tmp_path, embedder)


# The training set


def add_labelled(stores: Stores, rows: Iterable[LabelledConversation]) -> None:
    """Put conversations into the warehouse, and what people said of them into the ledger."""
    labelled = list(rows)
    add_traces(
        stores,
        [
            {
                "trace_id": row.conversation.trace_id,
                "app": row.conversation.app,
                "session_id": row.conversation.session_id,
                "messages": [
                    {"role": turn.role, "content": turn.text} for turn in row.conversation.turns
                ],
            }
            for row in labelled
        ],
    )
    decisions = [
        said(row.conversation.trace_id, row.perceived_error, is_audit=True, draw_probability=0.5)
        for row in labelled
    ]
    with stores.ledger.begin() as connection:
        append(connection, [(decision, None) for decision in decisions])
    derive_labels(stores)


def test_the_holdout_never_enters_a_training_set(project: Project) -> None:
    rows = made_up(120)
    add_labelled(project.stores, rows)
    taken = take_training_set(project.stores, LEVERS)
    of_split: dict[str, set[str]] = {}
    for row in rows:
        split = split_of(row.conversation.session_id, None)
        of_split.setdefault(split, set()).add(row.conversation.trace_id)
    assert of_split.pop("holdout")
    assert {
        part: {row.conversation.trace_id for row in found} for part, found in taken.rows.items()
    } == of_split
    assert taken.n_labels == len(taken.correction_ids) == sum(map(len, of_split.values()))
    # All 120 decisions were looked at, those of the holdout too.
    assert len(taken.considered) == 120
    first = taken.rows["train"][0]
    (same,) = [row for row in rows if row.conversation.trace_id == first.conversation.trace_id]
    assert first.conversation == same.conversation
    assert (first.perceived_error, first.weight) == (same.perceived_error, 2.0)


def test_the_same_labels_make_the_same_training_set(project: Project) -> None:
    add_labelled(project.stores, made_up(20))
    taken = take_training_set(project.stores, LEVERS)
    assert take_training_set(project.stores, LEVERS).name == taken.name
    assert read_training_set(project.stores, taken.name) == taken
    row = taken.rows["train"][0]
    decide(project.stores.ledger, said(row.conversation.trace_id, not row.perceived_error, "ann"))
    derive_labels(project.stores)
    assert take_training_set(project.stores, LEVERS).name != taken.name


def test_a_trace_that_changed_since_it_was_labelled_teaches_nothing(project: Project) -> None:
    rows = made_up(20)
    add_labelled(project.stores, rows)
    before = take_training_set(project.stores, LEVERS)
    changed = before.rows["train"][0].conversation
    newer = {
        "trace_id": changed.trace_id,
        "app": "shop",
        "session_id": changed.session_id,
        "messages": [{"role": "user", "content": "a lamp"}],
    }
    add_traces(project.stores, [newer], version="v2")
    after = take_training_set(project.stores, LEVERS)
    assert after.n_labels == before.n_labels - 1
    assert changed.trace_id not in {r.conversation.trace_id for r in after.rows["train"]}


def test_a_session_in_the_holdout_and_outside_it_blocks_the_training(project: Project) -> None:
    users = [f"u{i}" for i in range(50)]
    held = next(user for user in users if split_of("s", user) == "holdout")
    taught = next(user for user in users if split_of("s", user) == "train")
    messages = [{"role": role, "content": "grey"} for role in ("user", "assistant", "user")]
    traces = [
        {"trace_id": user, "app": "shop", "session_id": "s", "user_id": user, "messages": messages}
        for user in (held, taught)
    ]
    add_traces(project.stores, traces)
    for user in (held, taught):
        decide(project.stores.ledger, said(user, True))
    derive_labels(project.stores)
    with pytest.raises(Leak, match="nothing was trained"):
        take_training_set(project.stores, LEVERS)


def test_too_few_errors_train_nothing(project: Project, embedder: Embedder) -> None:
    rows = made_up(60)
    errors = [row for row in rows if row.perceived_error]
    add_labelled(project.stores, [*errors[:4], *(r for r in rows if not r.perceived_error)])
    taken = take_training_set(project.stores, LEVERS)
    with pytest.raises(NotEnough, match=r"\d labelled perceived errors, and at least 5"):
        train_challenger(project.stores, taken, embedder, LEVERS, SMALL, "parent")
    assert list_versions(project.stores.ledger, TARGET) == []


def test_only_decisions_that_stand_and_were_not_considered_are_new(project: Project) -> None:
    ledger = project.stores.ledger
    assert labels_since_training(project.stores).count == 0
    ids = [decide(ledger, said(f"t{i}", True)) for i in range(4)]
    assert labels_since_training(project.stores).ids == [str(i) for i in ids]
    considered = {"considered": [str(ids[0]), str(ids[2])]}
    register(ledger, TARGET, "judge-1", considered, "judge-1", None, "ann")
    assert labels_since_training(project.stores).ids == [str(ids[1]), str(ids[3])]
    undo(ledger, "ann")
    assert labels_since_training(project.stores).ids == [str(ids[1])]
    # The judge that needs no labels considered none, and is no training.
    register(ledger, TARGET, "cold", {}, None, None, "ann")
    assert labels_since_training(project.stores).ids == [str(ids[1])]


def test_why_nothing_was_trained_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "flywheel.toml").write_text("[training]\nmin_corrections = 6\n", encoding="utf-8")
    project = open_project(tmp_path)
    add_labelled(project.stores, made_up(4))
    assert retrain_if_due(project) == "no retraining: 4 new labels, 2 more are needed"
    add_labelled(project.stores, made_up(8)[4:])
    assert "labelled perceived errors, and at least 5 are needed" in retrain_if_due(project)
    project.stores.ledger.close()


# From the labels to the champion and back


SETTINGS = """
[compute]
threads = 1
[training]
rank = 2
epochs = 1
[gate]
promotion = "{promotion}"
general = "general.jsonl"
"""
N_TRACES = 400


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of 400 labelled traces, its day scored and a challenger trained and gated."""
    folder = tmp_path_factory.mktemp("trained")
    project = project_in(folder, "approve")
    add_labelled(project.stores, made_up(N_TRACES))
    sample_day(project.stores, DAY, 1.0, 0)
    score_day(project.stores, judge_of(project), DAY)
    train(project, take_training_set(project.stores, levers_of(project)))
    gate(project)
    project.stores.ledger.close()
    return folder


def project_in(folder: Path, promotion: str) -> Project:
    (folder / "flywheel.toml").write_text(SETTINGS.format(promotion=promotion), encoding="utf-8")
    # A judge of colours is no judge of the bundled sample.
    write_lines(folder / "general.jsonl", map(as_line, made_up(160, seed=9)))
    return open_project(folder)


def as_line(row: LabelledConversation) -> dict[str, object]:
    """A labelled conversation as a line of a file."""
    conversation = row.conversation
    return {
        "trace_id": conversation.trace_id,
        "session_id": conversation.session_id,
        "messages": [{"role": turn.role, "content": turn.text} for turn in conversation.turns],
        "label": {"perceived_error": row.perceived_error},
    }


def scores_in_force(project: Project) -> list[dict[str, object]]:
    with project.stores.warehouse.open() as connection:
        found = connection.raw.execute("select * from current_scores order by trace_id")
        return found.to_arrow_table().to_pylist()


def test_a_better_challenger_is_promoted_used_and_taken_back(trained: Path, tmp_path: Path) -> None:
    project = project_in(Path(shutil.copytree(trained, tmp_path / "project")), "auto")
    stores, ledger = project.stores, project.stores.ledger
    before = scores_in_force(project)
    cold = judge_of(project)
    challenger = alias_of(ledger, TARGET, CHALLENGER)
    assert challenger is not None
    assert challenger.parent == cold.version
    verdict, items = gate(project)
    assert verdict.passed
    assert {split_of(item.session_id, None) for item in items} == {"holdout"}
    moved = follow_gate(project)
    assert moved is not None
    assert (moved.previous, moved.current) == (cold.version, challenger.version)
    assert judge_of(project).version == challenger.version

    score_day(stores, judge_of(project), DAY)
    after = scores_in_force(project)
    assert {str(row["judge_version"]).split("/")[0] for row in after} == {challenger.version}
    truth = {row.conversation.trace_id: row.perceived_error for row in made_up(N_TRACES)}

    def n_right(scores: list[dict[str, object]]) -> int:
        return sum((row["label"] == "true") == truth[str(row["trace_id"])] for row in scores)

    assert n_right(after) > 0.95 * N_TRACES > 0.7 * N_TRACES > n_right(before)

    assert rollback(ledger, TARGET, "ann").current == cold.version
    assert judge_of(project).version == cold.version
    report = score_day(stores, judge_of(project), DAY)
    assert report.from_cache == N_TRACES
    assert scores_in_force(project) == before
    # What a person took back the gate does not bring back.
    assert follow_gate(project) is None
    ledger.close()


def test_a_better_challenger_waits_where_a_person_has_to_approve(
    trained: Path, tmp_path: Path
) -> None:
    project = project_in(Path(shutil.copytree(trained, tmp_path / "project")), "approve")
    ledger, cold = project.stores.ledger, judge_of(project)
    challenger = alias_of(ledger, TARGET, CHALLENGER)
    assert challenger is not None
    assert challenger.verdict is not None
    assert challenger.verdict.passed
    assert follow_gate(project) is None
    champion = alias_of(ledger, TARGET, CHAMPION)
    assert champion is not None
    assert champion.version == cold.version
    ledger.close()


def test_training_again_on_the_same_labels_adds_nothing(trained: Path, tmp_path: Path) -> None:
    project = project_in(Path(shutil.copytree(trained, tmp_path / "project")), "approve")
    versions = list_versions(project.stores.ledger, TARGET)
    assert len(versions) == 2
    assert labels_since_training(project.stores).count == 0
    newest = next(version for version in versions if version.artifact)
    assert newest.manifest["training_set"] == take_training_set(project.stores, LEVERS).name
    assert len(newest.manifest["considered"]) == N_TRACES
    assert "no retraining: 0 new labels" in retrain_if_due(project)
    with pytest.raises(AddsNothing, match="the same examples with the same settings"):
        train(project, take_training_set(project.stores, LEVERS))
    project.stores.ledger.close()


def test_other_settings_that_change_a_judge_make_another_training(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fitted(Exception):
        """A training began, which takes minutes."""

    def began(*_: object) -> Challenger:
        raise Fitted

    def wanting(**judge: object) -> Project:
        wanted = settings.judge.model_copy(update=judge)
        return replace(project, settings=settings.model_copy(update={"judge": wanted}))

    monkeypatch.setattr("flywheel.retraining.steps.train_challenger", began)
    add_labelled(project.stores, made_up(20))
    targets = {"shop": TargetSettings(apps=["shop"])}
    settings = project.settings.model_copy(update={"targets": targets})
    taken = take_training_set(project.stores, LEVERS)
    goal = Goal(settings.judge.target_agreement, settings.judge.certify_alpha)
    made_of = taken, embedder_of(project), levers_of(project), settings.training, goal
    with pytest.raises(Fitted):
        train(wanting(), taken)
    register(project.stores.ledger, TARGET, "j", about_judge(*made_of), "j", None, "ann")
    with pytest.raises(AddsNothing, match="the same examples with the same settings"):
        train(wanting(), taken)
    for other in ({"target_agreement": 0.8}, {"certify_alpha": 0.1}, {"max_message_chars": 99}):
        with pytest.raises(Fitted):
            train(wanting(**other), taken)
    # What another target has made of the same is known before minutes are spent on it.
    with pytest.raises(AddsNothing, match="it would be the j of judge: their labels are the same"):
        train(wanting(), taken, target=target_named(settings, "shop"))


def test_a_challenger_that_was_killed_before_the_gate_is_sent_there(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, asked = project.stores.ledger, []
    register(ledger, TARGET, "judge-1", {}, "judge-1", None, "ann")
    assert "0 new labels" in retrain_if_due(project)
    set_alias(ledger, TARGET, CHALLENGER, "judge-1", "pipeline", "newest training")

    def decided(_: Project, target: Target) -> tuple[object, list[object]]:
        asked.append(target.name)
        return SimpleNamespace(why=("It was compared.",)), []

    monkeypatch.setattr("flywheel.retraining.due.gate", decided)
    assert retrain_if_due(project) == "It was compared."
    assert asked == [TARGET]


def test_the_gate_looks_at_nobody_for_what_happens_to_another_target(project: Project) -> None:
    targets = {"shop": TargetSettings(kind="app", base="x"), "bank": TargetSettings(base="x")}
    settings = project.settings.model_copy(update={"targets": targets})
    project, ledger = replace(project, settings=settings), project.stores.ledger

    def to_gate(*retrained: str) -> list[str]:
        return [target.name for target in targets_to_gate(project, retrained)]

    # What was retrained and has no challenger says so; others are not asked.
    assert (to_gate(), to_gate("judge")) == ([], ["judge"])
    for target in ("judge", "shop"):
        for name in ("0", "1", "2", "3"):
            register(ledger, target, f"{target}-{name}", {}, f"{target}-{name}", None, "ann")
        set_alias(ledger, target, CHALLENGER, f"{target}-3", "pipeline", "newest training")
    set_alias(ledger, "shop", CHAMPION, "shop-1", "ann", "the first")
    assert to_gate("judge") == ["judge", "shop"]
    compare(project, "shop-3", better=0.12, target="shop")
    shop = alias_of(ledger, "shop", CHALLENGER)
    assert shop is not None
    assert shop.verdict is not None
    assert shop.verdict.passed
    # Its pass waits for a person, whatever is retrained.
    assert to_gate("judge", "shop") == ["judge"]
    # It says nothing of another champion.
    set_alias(ledger, "shop", CHAMPION, "shop-2", "ann", "by hand")
    assert to_gate() == ["judge", "shop"]
    # What was refused is looked at again where it was retrained.
    set_alias(ledger, "shop", CHAMPION, "shop-1", "ann", "back")
    set_alias(ledger, "shop", CHALLENGER, "shop-2", "pipeline", "newest training")
    compare(project, "shop-2", better=-0.1, target="shop")
    assert to_gate() == ["judge"]
    assert to_gate("shop") == ["judge", "shop"]


def test_what_was_forgotten_while_it_was_learnt_is_not_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_labelled(project.stores, made_up(20))
    taken, artifacts = take_training_set(project.stores, LEVERS), project.stores.artifacts

    def trained_meanwhile(*_: object) -> Challenger:
        with artifacts.new_folder("judges", "judge-x") as folder:
            (folder / "weights").write_text("of somebody's words")
        # Forgetting has written the set anew, under another name.
        artifacts.remove("training_sets", taken.name)
        return Challenger("judge-x", {})

    monkeypatch.setattr("flywheel.retraining.steps._train_judge", trained_meanwhile)
    with pytest.raises(AddsNothing, match="forgotten while it was trained"):
        train(project, taken)
    assert not (artifacts.root / "judges" / "judge-x").exists()
    assert "judge-x" not in {v.version for v in list_versions(project.stores.ledger, TARGET)}


def test_a_version_names_the_decisions_that_it_was_made_from(trained: Path, tmp_path: Path) -> None:
    project = project_in(Path(shutil.copytree(trained, tmp_path / "project")), "approve")
    ledger = project.stores.ledger
    newest = next(version for version in list_versions(ledger, TARGET) if version.artifact)
    taken = take_training_set(project.stores, LEVERS)
    parts = {part: len(rows) for part, rows in taken.rows.items() if rows}
    assert count_lineage(ledger, newest.version) == parts
    assert sum(parts.values()) == len(newest.manifest["corrections"]) == taken.n_labels
    ledger.close()
