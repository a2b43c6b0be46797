"""A judge as a folder: a manifest, safetensors, and a PEFT-standard adapter beside them.

A judge in, files out, and back. Weights are safetensors and JSON, never pickles; the manifest names
the embedder's weights, and loading under other weights is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from flywheel.errors import BadArtifact, BadInput
from flywheel.judge.calibration import Calibration
from flywheel.judge.encoder import FrozenModel, PairScale
from flywheel.judge.features import Scale
from flywheel.judge.judge import Judge, ReactionModel
from flywheel.judge.lexical import LexicalModel
from flywheel.judge.lora import LoraModel, attach_adapter
from flywheel.models.embedder import Embedder
from flywheel.records import Tier
from flywheel.traces.conversations import InputLevers

# Where a project's judges stand among its artifacts, one folder a version.
KIND = "judges"
MANIFEST = "judge.json"
_FORMAT = 1


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
        lora.encoder.model.save_pretrained(str(folder))
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
        "levers": asdict(judge.levers),
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
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest["embedder"] != embedder.version:
        raise BadArtifact(
            f"the judge in {folder} was fitted on the embedder {manifest['embedder']}, "
            f"and this project uses {embedder.version}"
        )
    tiers, models = manifest["tiers"], dict[Tier, ReactionModel]()
    models["lexical"] = _load_lexical(folder, tiers["lexical"])
    models["frozen"] = frozen = _load_frozen(folder, tiers["frozen"], embedder)
    if "lora" in tiers:
        head = load_file(folder / "lora_head.safetensors")
        models["lora"] = LoraModel(
            frozen,
            attach_adapter(embedder, str(folder)),
            head["coef"],
            float(head["intercept"][0]),
            tiers["lora"]["version"],
        )
    levers = manifest["levers"]
    judge = Judge(
        models,
        {tier: Calibration(**values) for tier, values in manifest["calibrations"].items()},
        InputLevers(levers["max_message_chars"], tuple(levers["strip_markers"])),
        manifest["best"],
    )
    if judge.version != manifest["version"]:
        raise BadArtifact(f"the judge in {folder} is not the {manifest['version']} that it names")
    return judge


def _load_lexical(folder: Path, tier: Mapping[str, str]) -> LexicalModel:
    arrays = load_file(folder / "lexical.safetensors")
    return LexicalModel(
        Scale(arrays["idf"], arrays["mean"], arrays["deviation"]),
        arrays["coef"],
        float(arrays["intercept"][0]),
        "last" if tier["pooling"] == "last" else "worst",
        tier["version"],
    )


def _load_frozen(folder: Path, tier: Mapping[str, str], embedder: Embedder) -> FrozenModel:
    arrays = load_file(folder / "frozen.safetensors")
    scale = PairScale(
        Scale(arrays["idf"], arrays["mean"], arrays["deviation"]),
        arrays["cosine_mean"],
        arrays["cosine_deviation"],
    )
    return FrozenModel(
        embedder,
        scale,
        arrays["coef"],
        float(arrays["intercept"][0]),
        "last" if tier["pooling"] == "last" else "worst",
        tier["version"],
    )


def _scale(scale: Scale) -> dict[str, np.ndarray]:
    return {"idf": scale.idf, "mean": scale.mean, "deviation": scale.deviation}


def _linear(coef: np.ndarray, intercept: float) -> dict[str, np.ndarray]:
    return {"coef": np.ascontiguousarray(coef, np.float64), "intercept": np.array([intercept])}
