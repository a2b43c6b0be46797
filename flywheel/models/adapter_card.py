"""The card of an adapter: how it was trained, and the tag that it has to be asked with.

A folder of PEFT files in, its card out. The one idea is that the weights name their card: the
header of each safetensors file holds the card's hash. So an adapter of ours whose card is gone or
changed is told from one of other origin, which has neither, and is refused.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from flywheel.errors import BadArtifact, BadInput
from flywheel.models.folders import weights_hash
from flywheel.models.tags import TagTemplate
from flywheel.records import Arm, TargetKind

CARD = "flywheel_adapter.json"
FORMAT = 1
# In a header's metadata, which `peft`, `transformers` and servers overlook.
_MARK = "flywheel_card"
_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "chat_template.jinja"),
)


@dataclass(frozen=True, slots=True)
class AdapterCard:
    """What an adapter carries with it; `tag` is None where it was trained without tags.

    `modules` counts the trainable numbers by kind of layer, `prompt_hash` names what it is asked
    with besides the messages, such as a judge's rubric, and is empty for nothing.
    """

    target_kind: TargetKind
    base: str
    base_hash: str
    rank: Annotated[int, Field(ge=1)]
    modules: dict[str, int]
    arm: Arm
    tag: TagTemplate | None
    prompt_hash: str
    tokenizer_hash: str
    training_set: str
    n_examples: int
    format: int = FORMAT


_CARD: TypeAdapter[AdapterCard] = TypeAdapter(AdapterCard)


def write_card(folder: Path, card: AdapterCard) -> None:
    """Put the card beside the weights of `folder`, and its hash into them: the last step of a save.

    Raises BadInput where the folder has no weights.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BadInput(f"{folder} has no .safetensors weights that a card could be of")
    text = (json.dumps(asdict(card), indent=2, sort_keys=True) + "\n").encode()
    (folder / CARD).write_bytes(text)
    mark = hashlib.sha256(text).hexdigest()
    for path in weights:
        _write_mark(path, mark)
    # Their bytes are others now.
    weights_hash.cache_clear()


def read_card(folder: Path) -> AdapterCard | None:
    """The card of an adapter, or of a model that it was merged into; None where it is not of ours.

    Raises BadArtifact where the weights name a card and it is not there, or is another one, or
    where a card stands beside weights that it is not of.
    """
    marks = {_mark_of(path) for path in sorted(folder.glob("*.safetensors"))} or {""}
    path = folder / CARD
    if not path.is_file():
        if marks == {""}:
            return None
        raise BadArtifact(
            f"the adapter in {folder} was trained here and has lost its {CARD}, which says whether "
            "it must be asked with a tag; export it again"
        )
    text = path.read_bytes()
    if marks != {hashlib.sha256(text).hexdigest()}:
        raise BadArtifact(f"{path} is not the card of the weights beside it; export them again")
    try:
        card = _CARD.validate_json(text)
    except (ValidationError, BadInput) as error:
        raise BadArtifact(f"{path} is no card that can be read: {_first_of(error)}") from error
    if card.format != FORMAT:
        raise BadArtifact(f"{path} is of format {card.format}, and this version reads {FORMAT}")
    return card


def require_base(card: AdapterCard, folder: Path, base: Path) -> None:
    """Raise BadArtifact where an adapter was trained on other weights or tokens than `base` has."""
    if card.base_hash != weights_hash(base):
        raise BadArtifact(
            f"the adapter in {folder} was trained on the weights {card.base_hash[:12]} of "
            f"{card.base}, and {base} holds {weights_hash(base)[:12]}; name that base again, or "
            "train on this one"
        )
    if card.tokenizer_hash != tokenizer_hash(base):
        raise BadArtifact(
            f"the adapter in {folder} was trained with another tokenizer or chat template of "
            f"{card.base} than those in {base}, so that it would be asked in other tokens; put the "
            "base's own files back, or train on these"
        )


def tokenizer_hash(folder: Path) -> str:
    """SHA-256 of what turns messages into tokens: the tokenizer's files and the chat template."""
    digest = hashlib.sha256()
    for name in _TOKENIZER_FILES:
        if (folder / name).is_file():
            digest.update(f"{name}\0".encode() + (folder / name).read_bytes())
    return digest.hexdigest()


def _first_of(error: ValidationError | BadInput) -> str:
    """What is wrong, in one line."""
    if isinstance(error, BadInput):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _mark_of(path: Path) -> str:
    """The hash of a card in the header of a safetensors file; empty for none."""
    try:
        with safe_open(path, framework="np") as weights:
            return str((weights.metadata() or {}).get(_MARK, ""))
    except (SafetensorError, OSError) as error:
        raise BadArtifact(f"{path} is no safetensors file: {error}") from error


def _write_mark(path: Path, mark: str) -> None:
    """Write the file again with the mark in its header, which stands behind its own length."""
    new = path.with_suffix(".marked")
    with path.open("rb") as old, new.open("wb") as file:
        header = json.loads(old.read(int.from_bytes(old.read(8), "little")))
        header["__metadata__"] = {**header.get("__metadata__", {}), _MARK: mark}
        text = json.dumps(header, separators=(",", ":")).encode()
        # The numbers begin at a multiple of eight bytes.
        text += b" " * (-len(text) % 8)
        file.write(len(text).to_bytes(8, "little") + text)
        shutil.copyfileobj(old, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
