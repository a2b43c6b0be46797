"""Several adapters in one copy of their base: a tiny Bert made here, and the bundled encoder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from flywheel.errors import BadArtifact
from flywheel.judge.lora import attach_adapter, base_model, shared_copy
from flywheel.judge.reactions import Reaction
from flywheel.models.adapters import quiet_peft
from flywheel.models.embedder import load_embedder
from flywheel.models.merged import MergedCopy, plain_lora_of, read_plain_lora

IDS = torch.tensor([[5, 9, 2, 7, 3]])


def base() -> Any:
    """The same tiny model each time."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    return BertModel(config).eval()


def adapted(model: Any, rank: int, modules: str | list[str], seed: int) -> Any:
    """A model with an adapter that says something."""
    with quiet_peft():
        made = get_peft_model(model, LoraConfig(r=rank, lora_alpha=32, target_modules=modules))
    torch.manual_seed(seed)
    for name, matrix in made.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(matrix, std=0.05)
    return made.eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters on all layers, of different ranks, and a narrow one on two kinds of them."""
    made = []
    for number, (rank, modules) in enumerate(
        [(2, "all-linear"), (8, "all-linear"), (4, ["query", "value"])]
    ):
        folder = tmp_path_factory.mktemp(f"adapter-{number}")
        adapted(base(), rank, modules, number).save_pretrained(str(folder))
        made.append(folder)
    return made


def hidden(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        states: torch.Tensor = model(input_ids=IDS).last_hidden_state
    return states


def test_a_merge_is_that_of_peft_to_the_bit(folders: list[Path]) -> None:
    from peft import PeftModel

    copy = MergedCopy(base())
    for folder in folders:
        with quiet_peft():
            expected = PeftModel.from_pretrained(base(), str(folder)).merge_and_unload()
        with copy.holding(read_plain_lora(folder, copy.paths)) as model:
            assert torch.equal(hidden(model), hidden(expected))


def test_an_adapter_gives_the_same_bits_after_any_other(folders: list[Path]) -> None:
    copy = MergedCopy(base())
    adapters = [read_plain_lora(folder, copy.paths) for folder in folders]
    told = []
    for number in (0, 1, 2, 0, 2, 1, 0):
        with copy.holding(adapters[number]) as model:
            told.append((number, hidden(model)))
    first = dict(reversed(told))
    assert all(torch.equal(states, first[number]) for number, states in told)
    assert not torch.equal(first[0], first[1])


def test_in_bfloat16_the_sum_is_taken_in_float32(folders: list[Path]) -> None:
    from peft import PeftModel

    copy = MergedCopy(base(), is_bfloat16=True)
    for folder in folders[:2]:
        with quiet_peft():
            expected = PeftModel.from_pretrained(base(), str(folder)).merge_and_unload()
        with copy.holding(read_plain_lora(folder, copy.paths)) as model:
            assert torch.equal(hidden(model), hidden(expected.bfloat16()))


def test_an_adapter_that_is_saved_again_is_the_same(folders: list[Path], tmp_path: Path) -> None:
    copy = MergedCopy(base())
    for folder in folders:
        read_plain_lora(folder, copy.paths).save(tmp_path)
        saved, kept = (load_file(each / "adapter_model.safetensors") for each in (tmp_path, folder))
        assert saved.keys() == kept.keys()
        assert all(torch.equal(saved[name], kept[name]) for name in kept)


def test_the_adapter_of_a_model_in_training_is_as_it_is_now(folders: list[Path]) -> None:
    trained = adapted(base(), 2, "all-linear", 0)
    copy = MergedCopy(base())
    on_disk = read_plain_lora(folders[0], copy.paths)
    now = plain_lora_of(trained)
    assert list(now.matrices) == list(on_disk.matrices)
    with copy.holding(on_disk) as model:
        before = hidden(model)
    with copy.holding(now) as model:
        assert torch.equal(hidden(model), before)
    with torch.no_grad():
        next(p for name, p in trained.named_parameters() if "lora_B" in name).add_(0.5)
    with copy.holding(plain_lora_of(trained)) as model:
        assert not torch.equal(hidden(model), before)


Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], None]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda config, _: config.update(use_dora=True), "no plain LoRA"),
        (lambda config, _: config.update(rank_pattern={"query": 4}), "no plain LoRA"),
        (lambda config, _: config.pop("r"), "damaged"),
        (lambda _, weights: weights.pop(next(iter(weights))), "damaged|another base"),
        (lambda _, weights: weights.update(elsewhere=torch.zeros(1)), "another base"),
    ],
)
def test_what_is_no_plain_adapter_of_the_base_is_refused(
    folders: list[Path], tmp_path: Path, change: Change, why: str
) -> None:
    config = json.loads((folders[0] / "adapter_config.json").read_text())
    weights = load_file(folders[0] / "adapter_model.safetensors")
    change(config, weights)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    save_file(weights, tmp_path / "adapter_model.safetensors")
    with pytest.raises(BadArtifact, match=why):
        read_plain_lora(tmp_path, MergedCopy(base()).paths)


def test_an_adapter_of_other_shapes_is_refused_and_leaves_no_trace(folders: list[Path]) -> None:
    copy = MergedCopy(base())
    good = read_plain_lora(folders[0], copy.paths)
    with copy.holding(good) as model:
        before = hidden(model)
    for path in good.matrices:
        bad = read_plain_lora(folders[1], copy.paths)
        down, up = bad.matrices[path]
        broken = type(bad)(bad.config, bad.scaling, {**bad.matrices, path: (down[:, :-1], up)})
        with pytest.raises(BadArtifact, match="does not fit"), copy.holding(broken):
            pass
        with copy.holding(good) as model:
            assert torch.equal(hidden(model), before)


def test_judges_of_one_embedder_read_with_one_copy(tmp_path: Path) -> None:
    embedder = load_embedder()
    for seed in (1, 2):
        made = adapted(base_model(embedder), 2, "all-linear", seed)
        made.save_pretrained(str(tmp_path / str(seed)))
    readers = [attach_adapter(embedder, tmp_path / str(seed)) for seed in (1, 2)]
    reactions = [Reaction(0, 2, "No, the other one!", "I opened b.txt.", "Open a.txt.")]
    copy = shared_copy(embedder.folder, embedder.threads, "float32")
    a, b, again = (readers[i].vectors(reactions) for i in (0, 1, 0))
    assert np.array_equal(a, again)
    assert np.abs(a - b).max() > 1e-3
    assert shared_copy(embedder.folder, embedder.threads, "float32") is copy
