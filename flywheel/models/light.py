"""The embedder for one text at a time, without PyTorch: the same vectors, and loaded at once.

Texts in, unit vectors out. The one idea is that a BERT of six layers is thirty products of small
matrices, which numpy does as fast as a framework; what the framework adds is the time that it takes
to load, and 400 MB. Only the plain form is read that the bundled model has (BERT, the mean of the
tokens, unit length); for any other the embedder itself answers.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flywheel.models.embedder import Embedder, TextEncoder, Vectors
from flywheel.safety import encodable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Of 384 floats each; 15 MB.
CACHED_TEXTS = 10_000
_Weights = dict[str, NDArray[np.float32]]


class LightEmbedder:
    """The vectors of an `Embedder` for one text at a time; what was embedded last is kept."""

    def __init__(self, embedder: Embedder):
        from threadpoolctl import threadpool_limits

        # Products as small as these take ten times as long where threads wait for each other.
        threadpool_limits(limits=embedder.threads, user_api="blas")
        self.version = embedder.version
        self.threads = embedder.threads
        self._bert = _Bert(embedder.folder)
        self._kept: OrderedDict[bytes, Vectors] = OrderedDict()
        self._keeping = Lock()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32 of shape (n_texts, dim), in the order of the texts."""
        if not texts:
            return np.empty((0, 0), np.float32)
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> Vectors:
        key = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
        with self._keeping:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
                return known
        vector = self._bert.vector(encodable(text).strip())
        with self._keeping:
            self._kept[key] = vector
            if len(self._kept) > CACHED_TEXTS:
                self._kept.popitem(last=False)
        return vector


def light_embedder(embedder: Embedder) -> TextEncoder:
    """The same vectors with less, where the model is of the plain form; else `embedder` itself."""
    return LightEmbedder(embedder) if _is_plain(embedder) else embedder


def _is_plain(embedder: Embedder) -> bool:
    folder = embedder.folder
    try:
        config = _json(folder / "config.json")
        modules = [part["type"].rsplit(".", 1)[-1] for part in _json(folder / "modules.json")]
        pooling = _json(folder / "1_Pooling" / "config.json")
        _json(folder / "sentence_bert_config.json")
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return (
        embedder.precision == "float32"
        and (folder / "tokenizer.json").exists()
        and (folder / "model.safetensors").exists()
        and config.get("architectures") == ["BertModel"]
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and modules == ["Transformer", "Pooling", "Normalize"]
        and [name for name, used in pooling.items() if used is True] == ["pooling_mode_mean_tokens"]
    )


class _Bert:
    """The weights of a folder, and one pass through them; reads are shared by all threads."""

    def __init__(self, folder: Path):
        from safetensors.numpy import load_file

        config = _json(folder / "config.json")
        self._heads: int = config["num_attention_heads"]
        self._eps = np.float32(config["layer_norm_eps"])
        self._tokenizer = _tokenizer(folder)
        # Some folders name the parts of the model inside a whole.
        loaded = {
            name.removeprefix("bert."): np.asarray(weight, np.float32)
            for name, weight in load_file(folder / "model.safetensors").items()
            if weight.dtype.kind == "f"
        }
        places = loaded["embeddings.position_embeddings.weight"]
        self._words = loaded["embeddings.word_embeddings.weight"]
        self._places = places + loaded["embeddings.token_type_embeddings.weight"][0]
        self._norm = _norm_of(loaded, "embeddings.LayerNorm")
        self._layers = [_layer(loaded, i) for i in range(config["num_hidden_layers"])]

    def vector(self, text: str) -> Vectors:
        """The unit vector of a text, float32 of shape (dim,)."""
        ids = self._tokenizer.encode(text).ids
        hidden = self._normed(self._words[ids] + self._places[: len(ids)], self._norm)
        for layer in self._layers:
            attended = self._attended(hidden, layer)
            hidden = self._normed(hidden + attended, layer["norm"])
            inner = _gelu(_linear(hidden, layer, "up"))
            hidden = self._normed(hidden + _linear(inner, layer, "down"), layer["last_norm"])
        mean = hidden.mean(axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)

    def _attended(self, hidden: Vectors, layer: _Weights) -> Vectors:
        n, dim = hidden.shape
        size = dim // self._heads
        # (3, heads, n, size): queries, keys and values of each head.
        of_heads = _linear(hidden, layer, "qkv").reshape(n, 3, self._heads, size)
        query, key, value = of_heads.transpose(1, 2, 0, 3)
        weights = query @ key.transpose(0, 2, 1) * np.float32(size**-0.5)
        weights = np.exp(weights - weights.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        said = (weights @ value).transpose(1, 0, 2).reshape(n, dim)
        return _linear(said, layer, "out")

    def _normed(self, hidden: Vectors, norm: NDArray[np.float32]) -> Vectors:
        centred = hidden - hidden.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + self._eps)
        return np.asarray(centred / spread * norm[0] + norm[1])


def _linear(hidden: Vectors, layer: _Weights, name: str) -> Vectors:
    """A linear layer of shape (out, in) on rows of tokens, shape (n, in) to (n, out).

    The weights stand to the left: of the two ways this one is a third faster where n is small.
    """
    return np.ascontiguousarray((layer[name] @ hidden.T).T) + layer[f"{name}_bias"]


def _layer(loaded: _Weights, i: int) -> _Weights:
    """The weights of one layer, those of queries, keys and values in one."""
    at = f"encoder.layer.{i}"
    own = f"{at}.attention.self"
    parts = ("query", "key", "value")
    return {
        "qkv": np.concatenate([loaded[f"{own}.{part}.weight"] for part in parts]),
        "qkv_bias": np.concatenate([loaded[f"{own}.{part}.bias"] for part in parts]),
        "out": loaded[f"{at}.attention.output.dense.weight"],
        "out_bias": loaded[f"{at}.attention.output.dense.bias"],
        "norm": _norm_of(loaded, f"{at}.attention.output.LayerNorm"),
        "up": loaded[f"{at}.intermediate.dense.weight"],
        "up_bias": loaded[f"{at}.intermediate.dense.bias"],
        "down": loaded[f"{at}.output.dense.weight"],
        "down_bias": loaded[f"{at}.output.dense.bias"],
        "last_norm": _norm_of(loaded, f"{at}.output.LayerNorm"),
    }


def _norm_of(loaded: _Weights, name: str) -> NDArray[np.float32]:
    return np.stack([loaded[f"{name}.weight"], loaded[f"{name}.bias"]])


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """x * Phi(x), with erf after Abramowitz and Stegun 7.1.26, whose error is below 1.5e-7."""
    z = np.abs(x) * np.float32(2**-0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = np.float32(1.061405429) * t - np.float32(1.453152027)
    for term in (1.421413741, -0.284496736, 0.254829592):
        series = series * t + np.float32(term)
    tail = series * t * np.exp(-z * z)
    return np.asarray(x * (0.5 + np.copysign(0.5 - 0.5 * tail, x)), np.float32)


def _tokenizer(folder: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(_json(folder / "sentence_bert_config.json")["max_seq_length"])
    tokenizer.no_padding()
    return tokenizer


def _json(path: Path) -> Any:  # noqa: ANN401  # whatever a model's maker wrote
    return json.loads(path.read_text(encoding="utf-8"))
