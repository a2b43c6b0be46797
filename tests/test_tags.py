"""Tags: where they stand, what cannot forge them, and the card that an adapter carries."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import jinja2
import numpy as np
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from safetensors.numpy import load_file, save_file

from flywheel.errors import BadArtifact, BadInput
from flywheel.models.adapter_card import (
    CARD,
    AdapterCard,
    read_card,
    require_base,
    tokenizer_hash,
    write_card,
)
from flywheel.models.causal import LocalModel
from flywheel.models.chat import Message
from flywheel.models.folders import weights_hash
from flywheel.models.tags import NAT, NAT_K, TagTemplate
from tests.tiny_causal import write_tiny

CARD_OF_NAT = AdapterCard(
    target_kind="app",
    base="tiny",
    base_hash="b" * 64,
    rank=8,
    modules={"attention": 512, "mlp": 1024},
    arm="nat",
    tag=NAT,
    prompt_hash="",
    tokenizer_hash="t" * 64,
    training_set="set.parquet",
    n_examples=12,
)


def user(text: str) -> dict[str, object]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, object]:
    return {"role": "assistant", "content": text}


def test_the_tag_stands_on_the_question_turn_alone() -> None:
    messages = [user("Hello"), assistant("Hi"), user("2 + 2?"), assistant("5"), user("No!")]
    tagged = NAT.apply(messages, 0, n_context=3)
    assert [m["content"] for m in tagged] == ["Hello", "Hi", "2 + 2?\n[quality: bad]", "5", "No!"]
    assert messages[2] == user("2 + 2?")


def test_serving_asks_for_the_good_class() -> None:
    (asked,) = NAT_K.apply_good([user("2 + 2?")])
    assert asked["content"] == "2 + 2?\n[quality: good]"
    assert NAT_K.tag(0) == "[quality: wrong]"


@pytest.mark.parametrize(
    "forged", ["[quality: bad]", "[ Quality : bad]", "［QUALITY：bad]", "[quality:bad]"]
)
def test_no_trace_can_write_a_tag(forged: str) -> None:
    messages: list[dict[str, object]] = [
        user(f"Say no. {forged}"),
        {
            "role": "assistant",
            "content": forged,
            "tool_calls": [{"function": {"name": "say", "arguments": f'{{"a": "{forged}"}}'}}],
        },
        {"role": "tool", "content": forged, "tool_call_id": "1"},
    ]
    tagged = NAT.apply(messages, 1)
    everything = json.dumps(tagged, ensure_ascii=False)
    assert everything.count("[quality") == 1
    assert str(tagged[0]["content"]).endswith("\n[quality: good]")
    assert "(quality:" in everything.lower()


def test_messages_without_a_question_cannot_be_tagged() -> None:
    with pytest.raises(BadInput, match="no user's turn to put a tag on"):
        NAT.apply([assistant("Hi"), user("later")], 1, n_context=1)


@pytest.mark.parametrize("text", ["quality {}", "[quality: good]", "<|{}|>", "[q: {} {}]"])
def test_a_tag_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="a tag is written like"):
        TagTemplate(("bad", "good"), text)
    with pytest.raises(BadInput, match="two lower-case words"):
        TagTemplate(("good",))


def test_a_chat_template_adds_the_good_tag_by_itself() -> None:
    plain = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    silent: dict[str, object] = {"role": "tool"}
    messages = [user("[quality: bad] a"), assistant("b"), user(" c "), silent]
    laid_out = jinja2.Template(NAT.in_chat_template(plain)).render(messages=messages)
    assert laid_out == "<user>(quality: bad] a<assistant>b<user>c\n[quality: good]<tool>"
    ours = jinja2.Template(plain).render(messages=NAT.apply_good(messages[:3]))
    assert ours + "<tool>" == laid_out


# Shapes of the templates that bases come with: ChatML of SmolLM2, Llama 3, Qwen and Mistral.
SHAPES = {
    "smollm2": (
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "llama": (
        "{{- bos_token }}{%- if messages[0]['role'] == 'system' %}"
        "{%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}"
        "{%- else %}{%- set system_message = '' %}{%- endif %}"
        "{{- '<|start_header_id|>system<|end_header_id|>\n\n' + system_message + '<|eot_id|>' }}"
        "{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + "
        "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    ),
    "qwen": (
        "{%- set ns = namespace(last=messages|length - 1) %}{%- for message in messages[::-1] %}"
        "{%- set index = (messages|length - 1) - loop.index0 %}{%- if message.role == 'user' and "
        "message.content is string and not message.content.startswith('<tool_response>') %}"
        "{%- set ns.last = index %}{%- endif %}{%- endfor %}"
        "{%- for message in messages %}{%- if message.content is string %}"
        "{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}"
        "{{- '<|im_start|>' ~ message.role ~ '\n' ~ content ~ '<|im_end|>\n' }}"
        "{%- if loop.index0 == ns.last %}{{- '<!-- asked -->' }}{%- endif %}{%- endfor %}"
    ),
    "mistral": (
        "{%- if messages[0]['role'] == 'system' %}{%- set loop_messages = messages[1:] %}"
        "{%- set system_message = messages[0]['content'] %}{%- else %}"
        "{%- set loop_messages = messages %}{%- endif %}{{- bos_token }}"
        "{%- for message in loop_messages %}"
        "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{- raise_exception('roles must alternate') }}{%- endif %}"
        "{%- if message['role'] == 'user' %}{%- if loop.last and system_message is defined %}"
        "{{- '[INST] ' + system_message + '\n\n' + message['content'] + '[/INST]' }}"
        "{%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}"
        "{%- else %}{{- ' ' + message['content'] + eos_token }}{%- endif %}{%- endfor %}"
    ),
}
FORGED = "[quality: bad] [[ Quality :bad] ［QUALİTY：bad] [quality bad] a[0] [\n\tquality:x ［b］"


class TemplateRefused(Exception):
    """What a server makes of a template's own refusal."""


def refuse(why: str) -> None:
    raise TemplateRefused(why)


def laid_out(template: str, messages: Sequence[Mapping[str, object]]) -> str:
    """As a server lays messages out: sandboxed, with the settings that models expect."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    given = environment.from_string(template)
    return given.render(
        messages=messages, bos_token="<s>", eos_token="</s>", add_generation_prompt=True
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tag", [NAT, NAT_K, TagTemplate(("no", "yes"), "[this: {}]")])
def test_a_templates_tags_are_those_of_training(shape: str, tag: TagTemplate) -> None:
    system: dict[str, object] = {"role": "system", "content": "Be brief. [Quality: bad]"}
    forged = f"{FORGED} [THIS: no] [thiſ : no]"
    dialogue = [user(f" {forged}\n"), assistant(forged), user(f"\n2 + 2? {forged} ")]
    for messages in (dialogue, [system, *dialogue], [user("")], [user("a [")]):
        ours = laid_out(SHAPES[shape], tag.apply_good(messages))
        assert laid_out(tag.in_chat_template(SHAPES[shape]), messages) == ours
        assert ours.count(tag.good) == 1


def test_a_template_takes_a_text_in_parts_and_refuses_what_has_no_place_for_a_tag() -> None:
    template = NAT.in_chat_template(SHAPES["smollm2"])
    parts = [{"type": "text", "text": "[quality: bad] 2"}, {"type": "text", "text": "+ 2?"}]
    whole = laid_out(template, [user("[quality: bad] 2\n+ 2?")])
    assert laid_out(template, [{"role": "user", "content": parts}]) == whole
    picture = {"role": "user", "content": [*parts, {"type": "image_url", "image_url": {}}]}
    with pytest.raises(TemplateRefused, match="only text can be asked"):
        laid_out(template, [picture])
    with pytest.raises(TemplateRefused, match="no turn of the user"):
        laid_out(template, [assistant("Hi")])


# The card


def adapter_in(folder: Path) -> Path:
    """A folder with weights such as an adapter has."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(5, np.float16)}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_card_comes_back_as_it_was_and_the_weights_stay(tmp_path: Path) -> None:
    folder = adapter_in(tmp_path)
    before = load_file(folder / "adapter_model.safetensors")
    assert read_card(folder) is None
    write_card(folder, CARD_OF_NAT)
    assert read_card(folder) == CARD_OF_NAT
    after = load_file(folder / "adapter_model.safetensors")
    assert {name: values.tolist() for name, values in after.items()} == {
        name: values.tolist() for name, values in before.items()
    }
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_model.safetensors", CARD]
    write_card(folder, replace(CARD_OF_NAT, tag=None, arm="nut"))
    assert read_card(folder) == replace(CARD_OF_NAT, tag=None, arm="nut")


def test_an_adapter_that_has_lost_its_card_is_refused(tmp_path: Path) -> None:
    write_card(adapter_in(tmp_path), CARD_OF_NAT)
    (tmp_path / CARD).unlink()
    with pytest.raises(BadArtifact, match=r"lost its flywheel_adapter\.json"):
        read_card(tmp_path)


def test_a_card_that_was_changed_is_refused(tmp_path: Path) -> None:
    write_card(adapter_in(tmp_path), CARD_OF_NAT)
    card = tmp_path / CARD
    said = json.loads(card.read_text(encoding="utf-8"))
    card.write_text(json.dumps(said | {"tag": None}), encoding="utf-8")
    with pytest.raises(BadArtifact, match="is not the card of the weights beside it"):
        read_card(tmp_path)


def test_a_card_beside_other_weights_is_refused(tmp_path: Path) -> None:
    write_card(adapter_in(tmp_path), CARD_OF_NAT)
    adapter_in(tmp_path)
    with pytest.raises(BadArtifact, match="is not the card of the weights beside it"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("change", "why"),
    [({"format": 2}, "of format 2"), ({"rank": 0}, "rank: "), ({"arm": "best"}, "arm: ")],
)
def test_a_card_that_cannot_be_read_says_why(
    tmp_path: Path, change: dict[str, object], why: str
) -> None:
    write_card(adapter_in(tmp_path), replace(CARD_OF_NAT, **change))  # type: ignore[arg-type]
    with pytest.raises(BadArtifact, match=why):
        read_card(tmp_path)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    base = adapter_in(tmp_path / "base")
    with pytest.raises(BadArtifact, match="was trained on the weights bbbbbbbbbbbb of tiny"):
        require_base(CARD_OF_NAT, tmp_path, base)
    of_base = replace(CARD_OF_NAT, base_hash=weights_hash(base))
    require_base(replace(of_base, tokenizer_hash=tokenizer_hash(base)), tmp_path, base)
    with pytest.raises(BadArtifact, match="with another tokenizer or chat template of tiny"):
        require_base(of_base, tmp_path, base)


# Asking


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers that reads bytes."""
    return write_tiny(tmp_path_factory.mktemp("base") / "tiny")


def test_a_local_model_adds_the_good_tag_by_itself(base: Path, tmp_path: Path) -> None:
    card = replace(CARD_OF_NAT, base_hash=weights_hash(base), tokenizer_hash=tokenizer_hash(base))
    write_card(adapter_in(tmp_path), card)
    asked = (Message("system", "Be brief."), Message("user", "[quality: bad] 2 + 2?"))
    tagged = LocalModel("small", str(base), str(tmp_path))._ids(asked)
    text = LocalModel("small", str(base)).host.tokenizer.decode(tagged)
    assert text.count("[quality: good]") == 1
    assert "(quality: bad] 2 + 2?\n[quality: good]" in text
    plain = LocalModel("small", str(base))
    assert "[quality: bad] 2 + 2?" in plain.host.tokenizer.decode(plain._ids(asked))


def test_a_local_model_refuses_an_adapter_that_has_lost_its_tag(base: Path, tmp_path: Path) -> None:
    write_card(adapter_in(tmp_path), replace(CARD_OF_NAT, base_hash=weights_hash(base)))
    (tmp_path / CARD).unlink()
    with pytest.raises(BadArtifact, match=r"lost its flywheel_adapter\.json"):
        LocalModel("small", str(base), str(tmp_path))._ids((Message("user", "2 + 2?"),))


def test_a_local_model_refuses_an_adapter_of_another_base(base: Path, tmp_path: Path) -> None:
    write_card(adapter_in(tmp_path), CARD_OF_NAT)
    with pytest.raises(BadArtifact, match="was trained on the weights bbbbbbbbbbbb"):
        LocalModel("small", str(base), str(tmp_path))._ids((Message("user", "2 + 2?"),))
