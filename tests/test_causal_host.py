"""Several adapters on one causal model: a tiny Llama made here, with SmolLM2's tokenizer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from flywheel.errors import BadArtifact, BadInput
from flywheel.models import smollm2
from flywheel.models.adapters import AdapterSwitch, quiet_peft
from flywheel.models.causal import LocalModel
from flywheel.models.causal_host import CausalHost, Message
from flywheel.models.chat import Message as Turn
from flywheel.models.chat import Prompt, ReplyShape

pytestmark = pytest.mark.skipif(
    not smollm2.is_prepared(), reason="SmolLM2 is not prepared; run `make smollm2`"
)
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SHORT: list[Message] = [{"role": "user", "content": "Two and two?"}]
LONG: list[Message] = [
    {"role": "system", "content": "You are a calculator."},
    {"role": "user", "content": "What is three times four, and what is left of it by two?"},
    {"role": "assistant", "content": "Twelve, and ten."},
    {"role": "user", "content": "And then?"},
]


@dataclass(frozen=True)
class Taught:
    messages: list[Message]
    n_context: int
    tools: tuple[Message, ...] = ()


ANSWERED = [Taught([*SHORT, {"role": "assistant", "content": "Four."}], 1), Taught(LONG, 2)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Llama whose odds differ from token to token."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("base")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    model = LlamaForCausalLM(config)
    for matrix in model.parameters():
        torch.nn.init.normal_(matrix, std=0.2)
    model.save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(str(smollm2.prepared_folder())).save_pretrained(str(folder))
    return folder


def write_adapter(folder: Path, base: Path, rank: int, modules: list[str], seed: int) -> Path:
    """A random adapter that changes what the model says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=rank, target_modules=modules, task_type="CAUSAL_LM")
    with quiet_peft():
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(str(base)), config)
        torch.manual_seed(seed)
        for name, matrix in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(matrix, std=0.1)
        model.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A narrow one on two kinds of layer, and a wide one on all: the widest comes last."""
    made = tmp_path_factory.mktemp("adapters")
    return [
        write_adapter(made / "narrow", base, 2, ["q_proj", "v_proj"], 1),
        write_adapter(made / "wide", base, 8, ALL, 2),
        write_adapter(made / "third", base, 4, ALL, 3),
    ]


@pytest.fixture(scope="module")
def host(base: Path) -> CausalHost:
    return CausalHost(base)


def logits_of(host: CausalHost) -> np.ndarray:
    import torch

    ids = torch.tensor([host.prompt_ids(LONG)])
    with torch.inference_mode():
        found: np.ndarray = host.model(input_ids=ids).logits[0].numpy()
    return found


def test_an_adapter_loads_as_it_does_with_plain_peft(
    host: CausalHost, base: Path, adapters: list[Path]
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    for adapter in adapters:
        with quiet_peft():
            plain = PeftModel.from_pretrained(
                AutoModelForCausalLM.from_pretrained(str(base)), str(adapter)
            ).eval()
        with torch.inference_mode():
            expected = plain(input_ids=torch.tensor([host.prompt_ids(LONG)])).logits[0].numpy()
        host.use(adapter)
        assert np.array_equal(logits_of(host), expected)


def test_with_the_adapter_off_the_logits_are_those_of_the_base(
    host: CausalHost, base: Path, adapters: list[Path]
) -> None:
    untouched = logits_of(CausalHost(base))
    for adapter in adapters:
        host.use(adapter)
        assert not np.allclose(logits_of(host), untouched, atol=1e-3)
        host.use(None)
        assert np.array_equal(logits_of(host), untouched)


def test_an_adapter_gives_the_same_again_after_another(
    host: CausalHost, adapters: list[Path]
) -> None:
    told: list[tuple[Any, ...]] = []
    for adapter in (*adapters[:2], None, adapters[0]):
        host.use(adapter)
        told.append(
            (
                host.generate([SHORT, LONG], 8),
                host.generate([SHORT, LONG], 8, temperature=1.0, seed=5),
                host.log_probabilities(ANSWERED).tolist(),
            )
        )
    assert told[0] == told[3]
    assert len({str(each) for each in told}) == 3


def test_more_adapters_than_are_kept_take_turns(base: Path, adapters: list[Path]) -> None:
    few = CausalHost(base)
    few._switch._most = 2
    first = []
    for adapter in (*adapters, *adapters):
        few.use(adapter)
        first.append(logits_of(few))
        assert len(few._switch.loaded) <= 2
    for number in range(3):
        assert np.array_equal(first[number], first[number + 3])


def test_the_base_is_in_memory_once(host: CausalHost, adapters: list[Path]) -> None:
    for adapter in adapters:
        host.use(adapter)
    whole = {name: p for name, p in host.model.named_parameters() if "lora_" not in name}
    assert sum(p.numel() for p in whole.values()) == sum(
        p.numel() for p in CausalHost(host.folder).model.parameters()
    )


# Adapters that do not fit


def test_what_is_no_adapter_of_this_base_is_refused_and_changes_nothing(
    host: CausalHost, base: Path, adapters: list[Path], tmp_path: Path
) -> None:
    host.use(None)
    before = logits_of(host)
    config = json.loads((adapters[0] / "adapter_config.json").read_text())
    weights = load_file(adapters[0] / "adapter_model.safetensors")
    strange = {name.replace("q_proj", "z_proj"): w for name, w in weights.items()}
    first = next(iter(weights))
    for number, (told, kept, why) in enumerate(
        [
            ({"peft_type": "IA3"}, weights, "kind IA3"),
            ({"init_lora_weights": "pissa"}, weights, "changes its base"),
            ({"target_modules": ["no_such"]}, weights, "does not fit"),
            ({"r": 4}, weights, "does not fit"),
            ({}, {first: weights[first]}, "not of this base"),
            ({}, strange, "not of this base"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps(config | told))
        save_file(kept, folder / "adapter_model.safetensors")
        with pytest.raises(BadArtifact, match=why):
            host.use(folder)
        assert np.array_equal(logits_of(host), before)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadArtifact, match="safetensors"):
        host.use(tmp_path / "empty")


# Writing


def test_a_prompt_is_answered_alike_alone_and_in_company(host: CausalHost) -> None:
    host.use(None)
    together = host.generate([SHORT, LONG, SHORT], 6)
    assert together[0] == together[2]
    assert together[:2] == [host.generate([each], 6)[0] for each in (SHORT, LONG)]


def test_a_draw_is_repeated_by_its_seed(host: CausalHost) -> None:
    host.use(None)
    drawn = [host.generate([SHORT, SHORT], 6, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0] != drawn[0][1]
    assert host.generate([SHORT], 6, temperature=1.0, seed=1) == drawn[0][:1]


def test_the_likeliest_words_are_those_of_a_plain_pass(host: CausalHost) -> None:
    import torch

    host.use(None)
    ids = torch.tensor([host.prompt_ids(LONG)])
    expected = host.model.generate(
        ids, max_new_tokens=6, do_sample=False, attention_mask=torch.ones_like(ids), pad_token_id=0
    )
    text = host.tokenizer.decode(expected[0, ids.shape[1] :], skip_special_tokens=True)
    assert host.generate([SHORT, LONG], 6)[1] == text


def test_a_reply_ends_before_a_stop_and_after_so_many_tokens(host: CausalHost) -> None:
    host.use(None)
    (whole,) = host.generate([LONG], 8)
    mark = whole[3:6]
    assert host.generate([LONG], 8, stop=("never said", mark)) == [whole[: whole.index(mark)]]
    assert whole.startswith(host.generate([LONG], 2)[0])


def test_a_prompt_beyond_the_models_memory_is_refused(host: CausalHost) -> None:
    endless: list[Message] = [{"role": "user", "content": "again " * 600}]
    with pytest.raises(BadInput, match="prompt 1 has"):
        host.generate([SHORT, endless], 8)


def test_log_probabilities_are_those_of_the_learnt_tokens_alone(host: CausalHost) -> None:
    import torch

    host.use(None)
    laid = host.layout.example(ANSWERED[0].messages, 1)
    with torch.inference_mode():
        odds = host.model(input_ids=torch.tensor([laid.ids])).logits[0].log_softmax(-1)
    places = [i for i, learnt in enumerate(laid.is_learnt) if learnt]
    expected = np.mean([float(odds[i - 1, laid.ids[i]]) for i in places])
    found = host.log_probabilities([*ANSWERED, Taught(SHORT, 1)])
    assert found[0] == pytest.approx(expected, abs=1e-5)
    assert np.isfinite(found[1])
    assert np.isnan(found[2])


# Judges


def test_local_models_on_one_base_share_it(base: Path, adapters: list[Path]) -> None:
    models = [
        LocalModel(str(i), str(base), str(adapter), max_reply_tokens=3)
        for i, adapter in enumerate(adapters[:2])
    ]
    prompt = Prompt("1", (Turn("user", "Is this polite? Go away."),), ReplyShape("is_polite"))
    ((_, first),) = models[0].answers([prompt])
    ((_, second),) = models[1].answers([prompt])
    ((_, again),) = models[0].answers([prompt])
    assert models[0].host is models[1].host
    assert first.label_probability == again.label_probability != second.label_probability


def test_a_switch_without_any_adapter_leaves_the_model_as_it_is(host: CausalHost) -> None:
    switch = AdapterSwitch(host.model)
    switch.use(None)
    assert switch.loaded == []
