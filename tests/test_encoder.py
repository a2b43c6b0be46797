"""How the encoder tiers read: merged, in batches of like length, in the numbers of a setting."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from flywheel.in_use import judge_of, reader_of
from flywheel.judge.encoder import FrozenModel
from flywheel.judge.judge import Judge
from flywheel.judge.lora import LoraModel, PairEncoder
from flywheel.judge.precision import in_precision
from flywheel.judge.reactions import Reaction, reactions_of
from flywheel.models.embedder import BUNDLED, Embedder, load_embedder
from flywheel.models.engine import (
    precision_here,
    token_batches,
    tokens_a_batch,
    version_in,
)
from flywheel.store import Project
from tests.drawn import drawn_encoder, drawn_judge
from tests.made_up import made_up

LONG = "The crate is grey. " * 400
TEXTS = ["", "no", LONG, "Where is the crate?", "¿Dónde está?", " \n ", "🙂" * 300, "no"]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder(BUNDLED, 1)


@pytest.fixture(scope="module")
def encoder(embedder: Embedder) -> PairEncoder:
    return drawn_encoder(embedder)


@pytest.fixture(scope="module")
def judge(embedder: Embedder, encoder: PairEncoder) -> Judge:
    return drawn_judge(embedder, encoder)


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that multiplies bfloat16 in tiles, whatever it really is."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    precision_here.cache_clear()
    yield
    precision_here.cache_clear()


@pytest.fixture
def no_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that does not."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    precision_here.cache_clear()
    yield
    precision_here.cache_clear()


def reactions() -> list[Reaction]:
    """Reactions with every mixture of texts as request, answer and reaction."""
    turned = TEXTS[3:] + TEXTS[:3]
    odd = [Reaction(i, 2, *texts) for i, texts in enumerate(zip(TEXTS, turned, TEXTS, strict=True))]
    return odd + reactions_of([row.conversation for row in made_up(12, seed=3, n_rounds=2)])


# The adapter


def test_an_adapter_reads_the_same_merged_and_beside_the_base(encoder: PairEncoder) -> None:
    rows = reactions()
    merged = encoder.vectors(rows)
    with torch.inference_mode():
        beside = np.stack([encoder.pooled([row])[0].numpy() for row in encoder.tokens(rows)])
        with encoder.model.disable_adapter():
            base = encoder.pooled(encoder.tokens(rows[:1]))[0].numpy()
    assert np.abs(merged - beside).max() < 1e-5
    assert np.abs(merged[0] - base).max() > 0.05


def test_reading_leaves_the_adapter_to_be_saved_and_trained(encoder: PairEncoder) -> None:
    before = {name: weight.clone() for name, weight in encoder.model.named_parameters()}
    encoder.vectors(reactions()[:2])
    after = dict(encoder.model.named_parameters())
    assert any("lora_B" in name for name in after)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_logits_do_not_depend_on_what_else_is_in_the_batch(judge: Judge) -> None:
    rows = reactions()
    for tier in ("frozen", "lora"):
        model = judge.models[tier]
        together, codes = model.read(rows)
        assert np.isfinite(together).all()
        forget(model)
        alone = np.array([model.read([row])[0][0] for row in rows])
        assert np.abs(together - alone).max() < 1e-4
        forget(model)
        turned, turned_codes = model.read(rows[::-1])
        assert np.abs(together - turned[::-1]).max() < 1e-4
        assert np.abs(codes - turned_codes[::-1]).max() < 1e-3


def forget(model: object) -> None:
    """Have the embedder embed every text anew."""
    assert isinstance(model, FrozenModel | LoraModel)
    embedder = model.embedder if isinstance(model, FrozenModel) else model.frozen.embedder
    embedder._cache.clear()


# Batches


def test_a_batch_is_of_like_length_and_within_its_budget() -> None:
    # Longest first: 50 stands alone, for two would be 100; 20 and 20 are 40, a third would be 60.
    assert list(token_batches([20, 5, 50, 20, 20, 5], 59)) == [[2], [0, 3], [4, 1], [5]]
    assert list(token_batches([], 10)) == []


def test_a_text_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    assert list(token_batches([3, 900, 800], 512)) == [[1], [2], [0]]


def test_batches_hold_every_row_once_and_never_more_than_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 1000).tolist()
    batches = list(token_batches(lengths, 512))
    assert sorted(row for rows in batches for row in rows) == list(range(1000))
    assert all(len(rows) * max(lengths[i] for i in rows) <= 512 for rows in batches)


def test_the_budget_of_a_batch_grows_with_threads_alone() -> None:
    threads = torch.get_num_threads()
    assert tokens_a_batch(torch.zeros(1)) == 512 * threads
    assert tokens_a_batch(torch.zeros(1, dtype=torch.bfloat16)) == 1024 * threads


def test_embeddings_are_those_of_sentence_transformers_in_the_order_of_the_texts(
    embedder: Embedder,
) -> None:
    embedder._cache.clear()
    texts = TEXTS + [turn.text for row in made_up(20, seed=8) for turn in row.conversation.turns]
    plain = embedder.model().encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(embedder.encode(texts) - plain).max() < 1e-5
    assert np.abs(embedder.encode(texts[::-1]) - plain[::-1]).max() < 1e-5
    assert embedder.encode(texts).dtype == np.float32


# Numbers


@pytest.mark.usefixtures("tiles")
def test_other_numbers_are_another_version_of_every_encoder_tier(judge: Judge) -> None:
    other = in_precision(judge, "bfloat16")
    assert other.version == f"{judge.version}-bfloat16"
    assert other.models["lexical"].version == judge.models["lexical"].version
    for tier in ("frozen", "lora"):
        assert other.models[tier].version == f"{judge.models[tier].version}-bfloat16"
    assert in_precision(other, "float32").version == judge.version
    assert in_precision(judge, "float32") is judge


@pytest.mark.usefixtures("no_tiles")
def test_without_tiles_for_bfloat16_a_judge_reads_in_float32(judge: Judge) -> None:
    assert in_precision(judge, "bfloat16") is judge


def test_a_version_names_the_numbers_once() -> None:
    assert version_in("lora-1", "float32") == "lora-1"
    assert version_in("lora-1", "bfloat16") == "lora-1-bfloat16"
    assert version_in("lora-1-bfloat16", "bfloat16") == "lora-1-bfloat16"
    assert version_in("lora-1-bfloat16", "float32") == "lora-1"


@pytest.mark.usefixtures("tiles")
def test_in_bfloat16_a_judge_gives_the_same_verdicts(judge: Judge) -> None:
    conversations = [row.conversation for row in made_up(12, seed=3)]
    for tier in ("frozen", "lora"):
        said = [
            one.verdicts(conversations, one.opinions(conversations, tier), tier)
            for one in (judge, in_precision(judge, "bfloat16"))
        ]
        labels = [[verdict.perceived_error for verdict in verdicts] for verdicts in said]
        apart = [a.probability - b.probability for a, b in zip(*said, strict=True)]
        assert labels[0] == labels[1]
        assert 0 < np.abs(apart).max() < 0.05


@pytest.mark.usefixtures("tiles")
def test_embeddings_in_bfloat16_are_unit_vectors_near_those_in_float32(embedder: Embedder) -> None:
    near = embedder.in_precision("bfloat16")
    vectors, plain = near.encode(TEXTS), embedder.encode(TEXTS)
    assert near.version == f"{embedder.version}-bfloat16"
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    assert np.einsum("nd,nd->n", vectors, plain).min() > 0.999


@pytest.mark.usefixtures("tiles")
def test_the_setting_moves_what_reads_and_not_what_is_registered(project: Project) -> None:
    settings = project.settings.model_copy(
        update={"compute": project.settings.compute.model_copy(update={"precision": "bfloat16"})}
    )
    faster = replace(project, settings=settings)
    assert judge_of(faster).version == judge_of(project).version
    assert reader_of(faster).version == f"{judge_of(project).version}-bfloat16"
    assert reader_of(project).version == judge_of(project).version
