"""Exports: the files of a version, for who runs it elsewhere, with its card and how to run it.

A version in, a new folder out: `peft` is the adapter as plain `peft` loads it, `vllm` the adapter
with the chat template that a server needs, `merged` one model without any adapter. The one idea is
that what has to be right elsewhere is in the folder: the tag of a good answer is in its chat
template, and the command that serves it in its README.
"""

import json
import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jinja2 import TemplateError

from flywheel.errors import BadInput
from flywheel.models.adapter_card import AdapterCard, read_card, require_base, write_card
from flywheel.models.adapters import CONFIG_FILE, check_adapter, quiet_peft
from flywheel.models.causal_host import causal_folder
from flywheel.models.chat_layout import PLAIN_TEMPLATE
from flywheel.models.tags import TagTemplate
from flywheel.registry import readmes
from flywheel.registry.card import card_of
from flywheel.registry.card_text import write_card_files
from flywheel.registry.folders import folder_of
from flywheel.registry.versions import Version, find_version
from flywheel.store import Stores

Format = Literal["peft", "vllm", "merged"]
TEMPLATE_FILE = "chat_template.jinja"
ADAPTER_FOLDER = "adapter"
# Of an encoder judge, beside the adapter; what reads the logits is not in the weights alone.
_JUDGE_FILE = "judge.json"
# What vLLM reserves room for; the least that an adapter fits into.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt", "added_tokens.json")


@dataclass(frozen=True, slots=True)
class Export:
    """Where an export stands, and the command that serves it; empty where none is needed."""

    folder: Path
    command: str


def export_version(
    stores: Stores, target: str, name: str, out: Path, form: Format = "peft", base: str = ""
) -> Export:
    """Write the files of a version, or of the carrier of an alias, into a new folder.

    `base` is where the base model is, where that is another place than when it was trained. Raises
    BadInput where `out` exists, or the version has no files of this form; NotFound; BadArtifact
    where the base is another than the adapter's.
    """
    if out.exists():
        raise BadInput(f"{out} exists already; name a new folder")
    version = find_version(stores.ledger, target, name)
    folder = folder_of(stores.artifacts, version)
    card = card_of(stores, target, version.version)
    scratch = out.with_name(f".{out.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        command = _WRITERS[form](version, folder, scratch, out, base)
        write_card_files(card, scratch)
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Export(out, command)


def _write_peft(version: Version, folder: Path, new: Path, out: Path, base: str) -> str:
    """All files as they are: for the judge's own loading too."""
    shutil.copytree(folder, new)
    named = base or _base_of(folder)
    tag = _tag_of(read_card(folder))
    _readme(new, readmes.peft(version.version, named, (folder / CONFIG_FILE).is_file(), tag))
    return ""


def _write_vllm(version: Version, folder: Path, new: Path, out: Path, base: str) -> str:
    card = _causal_card(version, folder, "vllm")
    named = base or _base_of(folder)
    shutil.copytree(folder, new / ADAPTER_FOLDER)
    (new / ADAPTER_FOLDER / "README.md").unlink(missing_ok=True)
    template = _template(_base_folder(card, folder, named), card)
    (new / TEMPLATE_FILE).write_text(template, encoding="utf-8")
    rank = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))["r"]
    least = next((each for each in _RANKS if each >= rank), _RANKS[-1])
    _readme(
        new,
        readmes.vllm(version.version, _vllm(named, version, Path(), least), _tag_of(card)),
    )
    return _vllm(named, version, out.resolve(), least)


def _vllm(base: str, version: Version, folder: Path, rank: int) -> str:
    """The command that serves an adapter on its base; both are asked for by their names."""
    words = ["vllm", "serve", base, "--enable-lora", "--max-lora-rank", str(rank)]
    words += ["--lora-modules", f"{version.version}={folder / ADAPTER_FOLDER}"]
    words += ["--chat-template", str(folder / TEMPLATE_FILE)]
    # The tag goes behind a text, and not among its parts.
    words += ["--chat-template-content-format", "string"]
    return shlex.join(words)


def _write_merged(version: Version, folder: Path, new: Path, out: Path, base: str) -> str:
    """One model, whose weights hold the adapter; under a causal one's card as it was trained."""
    check_adapter(folder)
    named = base or _base_of(folder)
    is_encoder = (folder / _JUDGE_FILE).is_file()
    card = None if is_encoder else read_card(folder)
    of_base = Path(named) if is_encoder else _base_folder(card, folder, named)
    if not of_base.is_dir():
        raise BadInput(f"the base {named} is no folder here; name the one that it is in as --base")
    _merge(of_base, folder, new, is_encoder)
    _copy(of_base, new, _TOKENIZER)
    if is_encoder:
        _readme(new, readmes.merged_encoder(version.version, named))
        return ""
    (new / TEMPLATE_FILE).write_text(_template(of_base, card), encoding="utf-8")
    if card is not None:
        write_card(new, card)
    _readme(new, readmes.merged(version.version, named, _tag_of(card)))
    return shlex.join(["vllm", "serve", str(out.resolve()), "--served-model-name", version.version])


_WRITERS = {"peft": _write_peft, "vllm": _write_vllm, "merged": _write_merged}


def _merge(base: Path, adapter: Path, new: Path, is_encoder: bool) -> None:
    from peft import PeftModel
    from transformers import AutoModel, AutoModelForCausalLM

    kind = AutoModel if is_encoder else AutoModelForCausalLM
    with quiet_peft():
        model = kind.from_pretrained(
            str(base),
            dtype="float32",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
        merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    # Summed in float32, and stored in the numbers that the base is stored in.
    merged.to(_numbers_of(base)).save_pretrained(str(new))


def _numbers_of(base: Path) -> Any:  # noqa: ANN401  # a torch.dtype
    """The numbers that a base's config names; float32 where it names none."""
    import torch

    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    named = config.get("dtype") or config.get("torch_dtype") or "float32"
    found = getattr(torch, str(named), torch.float32)
    return found if isinstance(found, torch.dtype) else torch.float32


def _causal_card(version: Version, folder: Path, form: Format) -> AdapterCard | None:
    """The card of a causal adapter; raises BadInput where the version is an encoder judge."""
    if (folder / _JUDGE_FILE).is_file():
        raise BadInput(
            f"{version.version} is an encoder judge, which {form} does not serve; export it as peft"
        )
    check_adapter(folder)
    return read_card(folder)


def _base_of(folder: Path) -> str:
    """The base as the adapter names it; empty where there is no adapter."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except OSError:
        return ""
    card = read_card(folder)
    return card.base if card else str(config.get("base_model_name_or_path") or "")


def _base_folder(card: AdapterCard | None, folder: Path, named: str) -> Path:
    """The folder of a causal base; raises BadArtifact where it is not the adapter's."""
    base = causal_folder(named)
    if card is not None:
        require_base(card, folder, base)
    return base


def _template(base: Path, card: AdapterCard | None) -> str:
    """The base's chat template, with the good tag in it where the adapter was trained with tags.

    Raises BadInput where the template does not lay a tag out as it stands in a message.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        str(base), trust_remote_code=False, local_files_only=True
    )
    template = tokenizer.chat_template or PLAIN_TEMPLATE
    if not isinstance(template, str):
        if "default" not in template:
            raise BadInput(
                f"{base} has the chat templates {', '.join(template)}, and none `default`"
            )
        template = template["default"]
    if card is None or card.tag is None:
        return template
    tagged = card.tag.in_chat_template(template)
    _require_tag(tokenizer, tagged, card.tag, base)
    return tagged


def _require_tag(tokenizer: Any, template: str, tag: TagTemplate, base: Path) -> None:  # noqa: ANN401
    """See that the good tag comes out once, behind the last question, and no tag of a user's."""
    forged = tag.tag(0).upper()
    asked = [
        {"role": "user", "content": f"first {forged}"},
        {"role": "assistant", "content": "reply"},
        {"role": "user", "content": "last"},
    ]
    try:
        said = tokenizer.apply_chat_template(
            asked, chat_template=template, tokenize=False, add_generation_prompt=True
        )
        why = "writes the messages otherwise"
    except (TemplateError, TypeError, ValueError) as error:
        said, why = "", f"cannot be run: {error}"
    if said.count(tag.good) != 1 or f"last\n{tag.good}" not in said or forged in said:
        raise BadInput(
            f"the chat template of {base} {why}, so that a server would ask without {tag.good!r}; "
            "export as peft, and write the tag there"
        )


def _tag_of(card: AdapterCard | None) -> str:
    return card.tag.good if card and card.tag else ""


def _copy(source: Path, target: Path, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        for path in source.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, target / path.name)


def _readme(folder: Path, text: str) -> None:
    (folder / "README.md").write_text(text, encoding="utf-8")
