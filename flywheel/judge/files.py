"""A judge as a folder: a manifest, safetensors, and a PEFT-standard adapter beside them.

A judge in, files out, and back. Weights are safetensors and JSON, never pickles; the manifest names
the embedder's weights, and loading under other weights is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from flywheel.errors import BadArtifact, BadInput
from flywheel.judge.calibration import Calibration
from flywheel.judge.cascade import cascade_of
from flywheel.judge.encoder import FrozenModel, PairScale, frozen_model
from flywheel.judge.features import Scale
from flywheel.judge.judge import Judge, ReactionModel
from flywheel.judge.lexical import LexicalModel, lexical_model
from flywheel.judge.lora import LoraModel, attach_adapter, lora_model
from flywheel.models.embedder import Embedder
from flywheel.records import Tier
from flywheel.traces.conversations import InputLevers

# Where a project's judges stand among its artifacts, one folder a version.
KIND = "judges"
MANIFEST = "judge.json"
_FORMAT = 1
# What is raised where a file is missing, cut off, or holds other names, types or shapes.
_DAMAGE = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError),
    SafetensorError,
)


def save_judge(judge: Judge, folder: Path, about: Mapping[str, object]) -> None:
    """Write a fitted judge into `folder`; `about` is kept in the manifest and read by people.

    The adapter's files stand at the top, so that plain `peft` loads the folder as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lexical, frozen, lora = (judge.models.get(tier) for tier in ("lexical", "frozen", "lora"))
    if not (isinstance(lexical, LexicalModel) and isinstance(frozen, FrozenModel)):
        raise BadInput("the judge that needs no labels has no weights to save; fit one first")
    save_file(
        _scale(lexical.scale) | _linear(lexical.coef, lexical.intercept),
        folder / "lexical.safetensors",
    )
    save_file(
        _scale(frozen.scale.lexical)
        | {"cosine_mean": frozen.scale.mean, "cosine_deviation": frozen.scale.deviation}
        | _linear(frozen.coef, frozen.intercept),
        folder / "frozen.safetensors",
    )
    if isinstance(lora, LoraModel):
        lora.encoder.save(folder)
        save_file(_linear(lora.coef, lora.intercept), folder / "lora_head.safetensors")
    manifest = {
        "format": _FORMAT,
        "version": judge.version,
        "embedder": frozen.embedder.version,
        "best": judge.best,
        "tiers": {
            tier: {"version": model.version, "pooling": model.pooling}
            for tier, model in judge.models.items()
        },
        "calibrations": {tier: asdict(c) for tier, c in judge.calibrations.items()},
        "levers": judge.levers.named(),
        "cascade": judge.cascade.as_dict() if judge.cascade else None,
        "about": dict(about),
    }
    text = json.dumps(manifest, indent=2, default=str)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def load_judge(folder: Path, embedder: Embedder) -> Judge:
    """The judge of a folder that `save_judge` wrote.

    Raises BadInput where the folder holds no judge, and BadArtifact where it was fitted on other
    embedder weights or its files are not those that its version names.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BadInput(f"{folder} holds no judge: it has no {MANIFEST}; `flywheel training fit`")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["embedder"] != embedder.version:
            raise BadArtifact(
                f"the judge in {folder} was fitted on the embedder {manifest['embedder']}, "
                f"and this project uses {embedder.version}"
            )
        judge = _load(folder, manifest, embedder)
    except _DAMAGE as error:
        raise BadArtifact(
            f"the judge in {folder} is damaged ({type(error).__name__}); copy it there again"
        ) from error
    if judge.version != manifest["version"]:
        raise BadArtifact(f"the judge in {folder} is not the {manifest['version']} that it names")
    return judge


def _load(folder: Path, manifest: Mapping[str, Any], embedder: Embedder) -> Judge:
    """The judge as the files have it; its version is worked out from them, not read."""
    pooling = {tier: about["pooling"] for tier, about in manifest["tiers"].items()}
    words = load_file(folder / "lexical.safetensors")
    lexical = lexical_model(_scale_of(words), *_linear_of(words), pooling["lexical"])
    pairs = load_file(folder / "frozen.safetensors")
    scale = PairScale(_scale_of(pairs), pairs["cosine_mean"], pairs["cosine_deviation"])
    frozen = frozen_model(embedder, scale, *_linear_of(pairs), pooling["frozen"])
    models: dict[Tier, ReactionModel] = {"lexical": lexical, "frozen": frozen}
    if "lora" in pooling:
        head = load_file(folder / "lora_head.safetensors")
        models["lora"] = lora_model(frozen, attach_adapter(embedder, folder), *_linear_of(head))
    levers = manifest["levers"]
    # A judge that was saved before there were cascades has no such key.
    cascade = manifest.get("cascade")
    return Judge(
        models,
        {tier: Calibration(**values) for tier, values in manifest["calibrations"].items()},
        InputLevers(
            levers["max_message_chars"],
            tuple(levers["strip_markers"]),
            levers.get("include_tool_calls", False),
        ),
        manifest["best"],
        cascade_of(cascade) if cascade else None,
    )


def _scale(scale: Scale) -> dict[str, np.ndarray]:
    return {"idf": scale.idf, "mean": scale.mean, "deviation": scale.deviation}


def _linear(coef: np.ndarray, intercept: float) -> dict[str, np.ndarray]:
    return {"coef": np.ascontiguousarray(coef, np.float64), "intercept": np.array([intercept])}


def _scale_of(arrays: Mapping[str, np.ndarray]) -> Scale:
    return Scale(arrays["idf"], arrays["mean"], arrays["deviation"])


def _linear_of(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, float]:
    return arrays["coef"], float(arrays["intercept"][0])
