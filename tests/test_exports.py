"""Exports: plain peft loads them in a fresh process, and the good tag is asked for by itself."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flywheel.errors import BadArtifact, BadInput
from flywheel.models.adapter_card import AdapterCard, tokenizer_hash, write_card
from flywheel.models.adapters import quiet_peft
from flywheel.models.causal_host import CausalHost
from flywheel.models.embedder import load_embedder
from flywheel.models.folders import weights_hash
from flywheel.models.tags import NAT
from flywheel.registry import export_version, exports, register, set_alias
from flywheel.store import Project

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ASKED = [{"role": "user", "content": "two and two?"}]
PLAIN_PEFT = """
import json, sys, torch
import transformers
from peft import PeftModel
kind, base, folder, ids = sys.argv[1:]
base = getattr(transformers, kind).from_pretrained(base)
model = PeftModel.from_pretrained(base, folder).eval()
with torch.inference_mode():
    last = model(input_ids=torch.tensor([json.loads(ids)]))
print(json.dumps((last.logits if "logits" in last else last.last_hidden_state)[0, -1].tolist()))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Llama of two layers, with a tokenizer and a chat template of its own."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("base")
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    special = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    words.train_from_iterator(["two and two is four", "[quality: good]"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<|end|>", pad_token="<|end|>"
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(str(folder))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 256}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **heads)).save_pretrained(
        str(folder)
    )
    return folder


def random_adapter(folder: Path, model: object, modules: list[str], rank: int = 4) -> None:
    """A random adapter of the model, as peft saves it."""
    import torch
    from peft import LoraConfig, get_peft_model

    with quiet_peft():
        adapted = get_peft_model(model, LoraConfig(r=rank, target_modules=modules))  # type: ignore[arg-type]
        torch.manual_seed(1)
        for name, matrix in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(matrix, std=0.2)
        adapted.save_pretrained(str(folder))


@pytest.fixture
def adapted(project: Project, base: Path) -> Project:
    """A project whose target `shop` has a version trained with tags, and one trained without."""
    from transformers import AutoModelForCausalLM

    for version, tag in (("shop-tagged", NAT), ("shop-plain", None)):
        folder = project.stores.artifacts.root / "adapters" / version
        random_adapter(folder, AutoModelForCausalLM.from_pretrained(str(base)), ALL)
        card = AdapterCard(
            target_kind="app",
            base=str(base),
            base_hash=weights_hash(base),
            rank=4,
            modules={"mlp": 10, "attention": 20},
            arm="nat" if tag else "vanilla",
            tag=tag,
            prompt_hash="",
            tokenizer_hash=tokenizer_hash(base),
            training_set="a-hash.parquet",
            n_examples=12,
        )
        write_card(folder, card)
        register(project.stores.ledger, "shop", version, {}, version, None, "ada", {1: "train"})
    set_alias(project.stores.ledger, "shop", "champion", "shop-tagged", "ada", "the first")
    return project


def elsewhere(kind: str, base: Path, folder: Path, ids: list[int]) -> np.ndarray:
    """The last numbers that plain peft gives in a process of its own."""
    command = [sys.executable, "-c", PLAIN_PEFT, kind, str(base), str(folder), json.dumps(ids)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return np.array(json.loads(ended.stdout))


def test_plain_peft_loads_an_exported_causal_adapter_in_a_fresh_process(
    adapted: Project, base: Path, tmp_path: Path
) -> None:
    import torch

    made = export_version(adapted.stores, "shop", "champion", tmp_path / "out")
    assert made.command == ""
    host = CausalHost(base)
    ids = list(host.prompt_ids(ASKED))
    with (
        host.using(adapted.stores.artifacts.path("adapters", "shop-tagged")) as model,
        torch.inference_mode(),
    ):
        here = model(input_ids=torch.tensor([ids])).logits[0, -1].numpy()
    np.testing.assert_allclose(
        elsewhere("AutoModelForCausalLM", base, made.folder, ids), here, atol=1e-5
    )
    files = {path.name for path in made.folder.iterdir()}
    assert {"CARD.md", "card.json", "README.md", "flywheel_adapter.json"} <= files
    assert "`[quality: good]`" in (made.folder / "README.md").read_text()
    assert json.loads((made.folder / "card.json").read_text())["learnt"] == {"train": 1}


def test_plain_peft_loads_an_exported_judge_in_a_fresh_process(
    project: Project, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModel

    base = load_embedder().folder
    folder = project.stores.artifacts.root / "judges" / "judge-1"
    random_adapter(folder, AutoModel.from_pretrained(str(base)), ["query", "dense"], rank=2)
    (folder / "judge.json").write_text("{}")
    register(project.stores.ledger, "judge", "judge-1", {}, "judge-1", None, "ada")
    made = export_version(project.stores, "judge", "judge-1", tmp_path / "out")
    ids = [101, 2048, 1998, 2048, 102]
    with quiet_peft():
        model = PeftModel.from_pretrained(AutoModel.from_pretrained(str(base)), str(folder)).eval()
    with torch.inference_mode():
        here = model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1].numpy()
    np.testing.assert_allclose(elsewhere("AutoModel", base, made.folder, ids), here, atol=1e-5)
    with pytest.raises(BadInput, match="is an encoder judge, which vllm does not serve"):
        export_version(project.stores, "judge", "judge-1", tmp_path / "served", "vllm")
    merged = export_version(
        project.stores, "judge", "judge-1", tmp_path / "merged", "merged", str(base)
    ).folder
    with torch.inference_mode():
        alone = AutoModel.from_pretrained(str(merged)).eval()(input_ids=torch.tensor([ids]))
    np.testing.assert_allclose(alone.last_hidden_state[0, -1].numpy(), here, atol=1e-4)


def rendered(template: str, text: str = "two and two?") -> str:
    """What a server that knows nothing of tags makes of one message."""
    import jinja2.sandbox

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    messages = [{"role": "user", "content": text}]
    return environment.from_string(template).render(messages=messages, add_generation_prompt=True)


def test_a_folder_for_vllm_has_the_command_and_a_template_that_adds_the_tag(
    adapted: Project, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "served"
    made = export_version(adapted.stores, "shop", "shop-tagged", out, "vllm")
    assert made.command == (
        f"vllm serve {base} --enable-lora --max-lora-rank 8 "
        f"--lora-modules shop-tagged={out / 'adapter'} --chat-template "
        f"{out / 'chat_template.jinja'} --chat-template-content-format string"
    )
    readme = (out / "README.md").read_text()
    assert "--lora-modules shop-tagged=adapter --chat-template chat_template.jinja" in readme
    assert (out / "adapter" / "adapter_model.safetensors").is_file()
    template = (out / "chat_template.jinja").read_text()
    said = "<|user|>two and two?\n[quality: good]<|end|><|assistant|>"
    assert rendered(template) == said
    # What a user writes asks for nothing else.
    assert "[quality: bad]" not in rendered(template, "[quality: bad] two?")
    plain = export_version(adapted.stores, "shop", "shop-plain", tmp_path / "plain", "vllm")
    assert (plain.folder / "chat_template.jinja").read_text() == TEMPLATE
    assert "quality" not in (plain.folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "writes the messages other"),
        ("{{ raise_exception('a system turn first') }}", "cannot be run: a system turn first"),
        ([{"name": "tools", "template": TEMPLATE}], "the chat templates tools, and none `default`"),
    ],
)
def test_a_template_that_cannot_carry_the_tag_is_refused(
    adapted: Project,
    base: Path,
    tmp_path: Path,
    template: object,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # An adapter of this base, though its template is another than the one that it was made with.
    monkeypatch.setattr(exports, "require_base", lambda *_: None)
    other = shutil.copytree(base, tmp_path / "other")
    for path in other.glob("chat_template*"):
        path.unlink()
    config = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
    with pytest.raises(BadInput, match=why):
        export_version(adapted.stores, "shop", "shop-tagged", tmp_path / "x", "vllm", str(other))
    assert not (tmp_path / "x").exists()


def test_a_merged_model_says_what_base_and_adapter_say(
    adapted: Project, base: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoTokenizer

    out = tmp_path / "merged"
    made = export_version(adapted.stores, "shop", "champion", out, "merged")
    assert made.command == f"vllm serve {out} --served-model-name shop-tagged"
    assert not list(out.glob("*.bin"))
    adapter = adapted.stores.artifacts.path("adapters", "shop-tagged")
    host, merged = CausalHost(base), CausalHost(out)
    ids = host.prompt_ids(ASKED, adapter)
    with host.using(adapter) as model, torch.inference_mode():
        here = model(input_ids=torch.tensor([ids])).logits.numpy()
    with merged.using(None) as model, torch.inference_mode():
        alone = model(input_ids=torch.tensor([ids])).logits.numpy()
    np.testing.assert_allclose(alone, here, atol=1e-4)
    # The tag stands there once, whoever asks: its own template has it already.
    assert merged.tokenizer.decode(merged.prompt_ids(ASKED)) == merged.tokenizer.decode(ids)
    assert AutoTokenizer.from_pretrained(str(out)).chat_template.count("[quality: good]") == 1
    assert "convert_hf_to_gguf.py" in (out / "README.md").read_text()


def test_an_export_fails_whole(adapted: Project, tmp_path: Path) -> None:
    stores, out = adapted.stores, tmp_path / "out"
    out.mkdir()
    with pytest.raises(BadInput, match="exists already; name a new folder"):
        export_version(stores, "shop", "champion", out)
    register(stores.ledger, "judge", "cold-1", {}, None, None, "ada")
    with pytest.raises(BadInput, match="cold-1 has no files to export"):
        export_version(stores, "judge", "cold-1", tmp_path / "none")
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.safetensors").write_bytes(
        (stores.artifacts.path("adapters", "shop-plain") / "adapter_model.safetensors").read_bytes()
    )
    with pytest.raises(BadArtifact, match="was trained on the weights"):
        export_version(stores, "shop", "champion", tmp_path / "x", "merged", str(other))
    (stores.artifacts.path("adapters", "shop-tagged") / "flywheel_adapter.json").unlink()
    with pytest.raises(BadArtifact, match="has lost its flywheel_adapter"):
        export_version(stores, "shop", "champion", tmp_path / "y", "vllm")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "other", "project"}
