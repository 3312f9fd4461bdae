"""A BERT small enough to build in a test, its plain numpy forward pass, and a recipe that builds it as the real one is built."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from bascule.ops.model_build import BertShape
from bascule.ops.model_recipes import Recipe
from bascule.ops.model_sources import PinnedFile
from bascule.ops.models import Built, pull

Array = npt.NDArray[np.float32]
WORDS = tuple(
    "the a cat dog sat ran on in mat house invoice refund is was paid shop money bank river tree".split()  # noqa: SIM905
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def tiny_weights(
    *, layers: int = 2, width: int = 32, inner: int = 48, words: int = 24, positions: int = 40, seed: int = 0
) -> dict[str, Array]:
    """Random weights under the names that published BERT encoders use."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}

    def put(name: str, *shape: int, scale: float = 0.3, shift: float = 0.0) -> None:
        tensors[name] = (rng.standard_normal(shape) * scale + shift).astype(np.float32)

    def norm(name: str) -> None:
        put(f"{name}.weight", width, scale=0.1, shift=1.0)
        put(f"{name}.bias", width, scale=0.1)

    def dense(name: str, out: int, into: int) -> None:
        put(f"{name}.weight", out, into)
        put(f"{name}.bias", out, scale=0.1)

    put("embeddings.word_embeddings.weight", words, width, scale=1.0)
    put("embeddings.position_embeddings.weight", positions, width)
    put("embeddings.token_type_embeddings.weight", 2, width)
    norm("embeddings.LayerNorm")
    for layer in range(layers):
        prefix = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            dense(f"{prefix}.attention.self.{part}", width, width)
        dense(f"{prefix}.attention.output.dense", width, width)
        norm(f"{prefix}.attention.output.LayerNorm")
        dense(f"{prefix}.intermediate.dense", inner, width)
        dense(f"{prefix}.output.dense", width, inner)
        norm(f"{prefix}.output.LayerNorm")
    return tensors


def forward(
    weights: dict[str, Array], shape: BertShape, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]
) -> Any:
    """The encoder written out in float64 without a graph: [batch, tokens] to unit vectors [batch, width]."""
    w = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    gelu = np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))

    def norm(x: Any, name: str) -> Any:
        mean = x.mean(-1, keepdims=True)
        return (x - mean) / np.sqrt(x.var(-1, keepdims=True) + shape.epsilon) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def dense(x: Any, name: str) -> Any:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def attend(x: Any, row: Any, prefix: str) -> Any:
        q, k, v = (dense(x, f"{prefix}.{part}") for part in ("query", "key", "value"))
        size = x.shape[-1] // shape.heads
        mixed = []
        for head in range(shape.heads):
            part = slice(head * size, (head + 1) * size)
            scores = q[:, part] @ k[:, part].T / math.sqrt(size)
            scores[:, row == 0] = -np.inf
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(shares / shares.sum(-1, keepdims=True) @ v[:, part])
        return np.concatenate(mixed, axis=-1)

    def encode(tokens: Any, row: Any) -> Any:
        x = w["embeddings.word_embeddings.weight"][tokens]
        x = (
            x
            + w["embeddings.position_embeddings.weight"][: len(tokens)]
            + w["embeddings.token_type_embeddings.weight"][0]
        )
        x = norm(x, "embeddings.LayerNorm")
        for layer in range(shape.layers):
            p = f"encoder.layer.{layer}"
            attended = dense(attend(x, row, f"{p}.attention.self"), f"{p}.attention.output.dense")
            x = norm(x + attended, f"{p}.attention.output.LayerNorm")
            inner = gelu(dense(x, f"{p}.intermediate.dense"))
            x = norm(x + dense(inner, f"{p}.output.dense"), f"{p}.output.LayerNorm")
        mean = (x * row[:, None]).sum(0) / row.sum()
        return mean / np.linalg.norm(mean)

    return np.stack([encode(tokens, row) for tokens, row in zip(ids, mask, strict=True)])


def write_safetensors(path: Path, tensors: dict[str, Array]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(t.tobytes() for t in tensors.values()))


def write_tokenizer(path: Path) -> None:
    """Words of a fixed list, with the start and end marks of BERT."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    tokenizer.save(str(path))


def publish(folder: Path, *, name: str = "minilm", seed: int = 0) -> Recipe:
    """Write a tiny model's files into `folder`, as a publisher would, and return the recipe that pins them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / "model.safetensors", tiny_weights(seed=seed))
    write_tokenizer(folder / "tokenizer.json")
    return Recipe(
        name=name,
        title="a tiny random model",
        licence="Apache-2.0",
        dimension=32,
        weights=_pin(folder / "model.safetensors"),
        tokenizer=_pin(folder / "tokenizer.json"),
        shape=BertShape(layers=2, heads=4),
        sources=(f"file:{folder}",),
    )


def install(models_folder: Path, source: Path, *, name: str = "minilm") -> Built:
    """A working, meaningless embedding model under `models_folder`, in a second: for tests without the real one."""
    return pull(models_folder, recipe=publish(source, name=name))


def _pin(path: Path) -> PinnedFile:
    data = path.read_bytes()
    return PinnedFile(name=path.name, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
