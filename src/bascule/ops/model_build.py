"""From pinned BERT weights to one small ONNX file: ids in, unit vectors out, matrices in eight bits.

No framework is needed: safetensors is a length, a JSON header and raw arrays, and a BERT encoder is a few dozen lines of
graph. The float32 graph is what tests compare with a plain numpy forward pass; `quantise` then shrinks it to a quarter.
`onnx` is needed for building only (the `models` extra); running takes onnxruntime, tokenizers and numpy.

Source of the architecture: Devlin et al., "BERT" (2018); the pooling and norm are sentence-transformers' all-MiniLM-L6-v2.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from bascule.core.errors import ConfigError

Weights = Mapping[str, npt.NDArray[np.float32]]
OPSET: Final = 20  # the first with Gelu
IR_VERSION: Final = 9
MAX_HEADER_BYTES: Final = 16_000_000


class BertShape(msgspec.Struct, frozen=True, kw_only=True):
    """What the weights alone do not say."""

    layers: int
    heads: int
    epsilon: float = 1e-12


def read_safetensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Every float32 tensor of the file by name, mapped rather than read. Other types are left out.

    Raises ConfigError when the file is not whole.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if not 2 <= header_bytes <= min(MAX_HEADER_BYTES, size_bytes - 8):
            raise ConfigError("The weights are not a safetensors file. Fetch them again: bascule models pull")
        header: dict[str, Any] = json.loads(file.read(header_bytes))
    start = 8 + header_bytes
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        first, last = entry["data_offsets"]
        if start + last > size_bytes:
            raise ConfigError("The weights end too early. Fetch them again: bascule models pull")
        flat = np.memmap(path, dtype="<f4", mode="r", offset=start + first, shape=((last - first) // 4,))
        tensors[name] = np.asarray(flat).reshape(entry["shape"])
    return tensors


def build(weights: Weights, shape: BertShape) -> Any:
    """An onnx.ModelProto: `input_ids`, `attention_mask` (both int64 [batch, tokens]) to `embedding` (float32 [batch, width]).

    The mean over unmasked tokens and the division by the length are inside, so a caller cannot forget them.
    Raises ConfigError when a tensor is missing.
    """
    graph = _Graph(weights)
    hidden = _embed(graph, shape.epsilon)
    bias = _mask_bias(graph)
    for layer in range(shape.layers):
        hidden = _layer(graph, hidden, bias, layer, shape)
    _pool(graph, hidden)
    return graph.model(width=weights["embeddings.word_embeddings.weight"].shape[1])


def quantise(model: Any, path: Path) -> None:
    """Write `model` with int8 weights, a scale for each output channel; activations are quantised while running.

    Weights keep to 7 bits: processors without VNNI add pairs of products in 16 bits and saturate with 8.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # the quantiser advises pre-processing on the root logger; this graph needs none
    try:
        quantize_dynamic(model, str(path), weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    finally:
        root.setLevel(level)


class _Graph:
    """Nodes and constants gathered in order; `node` returns the name of the one output."""

    def __init__(self, weights: Weights) -> None:
        try:
            import onnx
        except ImportError:
            raise ConfigError(
                "Building the embedding model needs the package onnx: pip install 'bascule[models]'"
            ) from None
        self._onnx = onnx
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def node(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{op}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        if name not in self._constants:
            self._constants[name] = self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def ints(self, *values: int) -> str:
        """A 1-D int64 constant: shape, axis and slice bounds must be 1-D even for one value."""
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, dtype=np.int64))

    def weight(self, name: str) -> npt.NDArray[np.float32]:
        try:
            return self._weights[name]
        except KeyError:
            raise ConfigError(f"The weights have no tensor named {name}: not a BERT encoder.") from None

    def dense(self, x: str, prefix: str) -> str:
        """x W^T + b, the weight stored transposed, as MatMul wants it."""
        weight = self.constant(f"{prefix}.weight", self.weight(f"{prefix}.weight").T)
        bias = self.constant(f"{prefix}.bias", self.weight(f"{prefix}.bias"))
        return self.node("Add", self.node("MatMul", x, weight), bias)

    def norm(self, x: str, prefix: str, epsilon: float) -> str:
        scale = self.constant(f"{prefix}.weight", self.weight(f"{prefix}.weight"))
        bias = self.constant(f"{prefix}.bias", self.weight(f"{prefix}.bias"))
        return self.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=epsilon)

    def model(self, width: int) -> Any:
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        inputs = [
            helper.make_tensor_value_info(name, kinds.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ]
        outputs = [helper.make_tensor_value_info("embedding", kinds.FLOAT, ["batch", width])]
        graph = helper.make_graph(self._nodes, "bert", inputs, outputs, list(self._constants.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="bascule", opset_imports=opsets, ir_version=IR_VERSION)
        self._onnx.checker.check_model(model)
        return model


def _embed(graph: _Graph, epsilon: float) -> str:
    """Words plus positions; the one segment these models use is folded into the positions."""
    words = graph.constant("embeddings.words", graph.weight("embeddings.word_embeddings.weight"))
    segment = graph.weight("embeddings.token_type_embeddings.weight")[0]
    positions = graph.constant("embeddings.positions", graph.weight("embeddings.position_embeddings.weight") + segment)
    count = graph.node("Shape", "input_ids", start=1, end=2)
    used = graph.node("Slice", positions, graph.ints(0), count, graph.ints(0))
    return graph.norm(
        graph.node("Add", graph.node("Gather", words, "input_ids", axis=0), used), "embeddings.LayerNorm", epsilon
    )


def _mask_bias(graph: _Graph) -> str:
    """[batch, 1, 1, tokens]: 0 where a token counts, a large negative number where it is padding."""
    mask = graph.node("Cast", "attention_mask", to=1, output="mask")
    wide = graph.node("Unsqueeze", mask, graph.ints(1, 2))
    one = graph.constant("one", np.array(1.0, dtype=np.float32))
    far = graph.constant("far", np.array(-1e9, dtype=np.float32))
    return graph.node("Mul", graph.node("Sub", one, wide), far)


def _layer(graph: _Graph, hidden: str, bias: str, layer: int, shape: BertShape) -> str:
    prefix = f"encoder.layer.{layer}"
    attended = graph.dense(
        _attend(graph, hidden, bias, f"{prefix}.attention.self", shape.heads), f"{prefix}.attention.output.dense"
    )
    hidden = graph.norm(graph.node("Add", attended, hidden), f"{prefix}.attention.output.LayerNorm", shape.epsilon)
    inner = graph.node("Gelu", graph.dense(hidden, f"{prefix}.intermediate.dense"))
    outer = graph.dense(inner, f"{prefix}.output.dense")
    return graph.norm(graph.node("Add", outer, hidden), f"{prefix}.output.LayerNorm", shape.epsilon)


def _attend(graph: _Graph, hidden: str, bias: str, prefix: str, heads: int) -> str:
    """Multi-head attention; the scale 1/sqrt(size of a head) is applied to the query."""
    width = graph.weight(f"{prefix}.query.weight").shape[0]
    size = width // heads
    split = graph.ints(0, 0, heads, size)

    def head(name: str, order: tuple[int, ...]) -> str:
        return graph.node(
            "Transpose", graph.node("Reshape", graph.dense(hidden, f"{prefix}.{name}"), split), perm=order
        )

    scale = graph.constant("scale", np.array(size**-0.5, dtype=np.float32))
    query = graph.node("Mul", head("query", (0, 2, 1, 3)), scale)
    scores = graph.node("Add", graph.node("MatMul", query, head("key", (0, 2, 3, 1))), bias)
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), head("value", (0, 2, 1, 3)))
    return graph.node("Reshape", graph.node("Transpose", mixed, perm=(0, 2, 1, 3)), graph.ints(0, 0, width))


def _pool(graph: _Graph, hidden: str) -> None:
    """The mean over unmasked tokens, divided by its length."""
    weights = graph.node("Unsqueeze", "mask", graph.ints(2))
    total = graph.node("ReduceSum", graph.node("Mul", hidden, weights), graph.ints(1), keepdims=0)
    count = graph.node("ReduceSum", weights, graph.ints(1), keepdims=0)
    mean = graph.node("Div", total, count)
    length = graph.node("ReduceL2", mean, graph.ints(1), keepdims=1)
    tiny = graph.constant("tiny", np.array(1e-12, dtype=np.float32))
    graph.node("Div", mean, graph.node("Max", length, tiny), output="embedding")


def versions() -> dict[str, str]:
    """The packages whose versions decide the built bytes."""
    return {name: metadata.version(name) for name in ("onnx", "onnxruntime", "numpy")}
