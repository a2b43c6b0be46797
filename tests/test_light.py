"""The embedder without PyTorch gives the vectors of the embedder."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from flywheel.models.embedder import load_embedder
from flywheel.models.light import LightEmbedder, light_embedder

TEXTS = [
    "",
    "a",
    "you sent the refund to the wrong card",
    "  spaces and\nlines\tand CAPITALS  ",
    "ünïcödé 你好 שלום 😀 \ud800",
    "x" * 3_000,
    "many words more than the model reads " * 100,
]


def test_the_vectors_are_those_of_the_embedder() -> None:
    light = light_embedder(load_embedder())
    assert isinstance(light, LightEmbedder)
    assert light.version == load_embedder().version
    assert light.encode(TEXTS) == pytest.approx(load_embedder().encode(TEXTS), abs=1e-6)


def test_a_text_is_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    light = LightEmbedder(load_embedder())
    first = light.encode(["a table for friday"])
    monkeypatch.setattr(light._bert, "vector", lambda text: pytest.fail(text))
    assert np.array_equal(light.encode(["a table for friday"]), first)
    assert light.encode([]).shape == (0, 0)


@pytest.mark.parametrize(
    ("name", "plain", "other"),
    [
        ("config.json", '"hidden_act": "gelu"', '"hidden_act": "relu"'),
        (
            "1_Pooling/config.json",
            '"pooling_mode_cls_token": false',
            '"pooling_mode_cls_token": true',
        ),
        ("modules.json", "2_Normalize", "2_Normalize"),
    ],
)
def test_a_model_of_another_form_is_left_to_the_embedder(
    tmp_path: Path, name: str, plain: str, other: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(load_embedder().folder, folder)
    text = (folder / name).read_text(encoding="utf-8")
    assert plain in text
    (folder / name).write_text("[" if plain == other else text.replace(plain, other))
    embedder = load_embedder(str(folder))
    assert light_embedder(embedder) is embedder
