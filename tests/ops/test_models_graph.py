"""The graph builder against a plain forward pass: no download, no trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from bascule.core.errors import ConfigError
from bascule.ops.model_build import BertShape, build, quantise, read_safetensors
from bascule.testing.tiny_model import forward, tiny_weights, write_safetensors

SIZES = [
    pytest.param({"layers": 1, "width": 8, "inner": 12}, 2, id="one layer"),
    pytest.param({"layers": 2, "width": 32, "inner": 48}, 4, id="two layers"),
    pytest.param({"layers": 3, "width": 24, "inner": 96}, 1, id="one head"),
]


def run(model: bytes | str, ids: Any, mask: Any) -> Any:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]


def padded(rng: np.random.Generator) -> tuple[Any, Any]:
    """Three texts of 9, 4 and 1 tokens, the rest padding."""
    mask = (np.arange(9) < np.array([[9], [4], [1]])).astype(np.int64)
    return rng.integers(1, 24, (3, 9)) * mask, mask


@pytest.mark.parametrize(("sizes", "heads"), SIZES)
def test_the_float_graph_computes_what_the_architecture_says(sizes: dict[str, int], heads: int) -> None:
    shape = BertShape(layers=sizes["layers"], heads=heads)
    weights = tiny_weights(**sizes, seed=heads)
    ids, mask = padded(np.random.default_rng(1))
    found = run(build(weights, shape).SerializeToString(), ids, mask)
    assert np.abs(found - forward(weights, shape, ids, mask)).max() < 1e-5


def test_padding_changes_nothing() -> None:
    shape, weights = BertShape(layers=2, heads=4), tiny_weights()
    model = build(weights, shape).SerializeToString()
    ids = np.array([[2, 7, 9, 3]])
    wide = np.array([[2, 7, 9, 3, 0, 0, 0]])
    alone = run(model, ids, np.ones_like(ids))
    assert np.abs(run(model, wide, (wide > 0).astype(np.int64)) - alone).max() < 1e-5


def test_quantising_keeps_the_direction_and_the_unit_length(tmp_path: Path) -> None:
    shape, weights = BertShape(layers=2, heads=4), tiny_weights()
    model = build(weights, shape)
    ids, mask = padded(np.random.default_rng(2))
    exact = run(model.SerializeToString(), ids, mask)
    quantise(model, tmp_path / "int8.onnx")
    small = run(str(tmp_path / "int8.onnx"), ids, mask)
    assert np.allclose(np.linalg.norm(small, axis=1), 1, atol=1e-5)
    assert (small * exact).sum(axis=1).min() > 0.999
    assert not np.array_equal(small, exact)


def test_safetensors_are_read_as_written(tmp_path: Path) -> None:
    weights = tiny_weights(seed=5)
    write_safetensors(tmp_path / "w.safetensors", weights)
    found = read_safetensors(tmp_path / "w.safetensors")
    assert found.keys() == weights.keys()
    assert all(np.array_equal(found[name], weights[name]) for name in weights)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, tiny_weights())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="end too early"):
        read_safetensors(path)


def test_weights_without_a_needed_tensor_are_refused_by_name() -> None:
    weights = tiny_weights()
    del weights["encoder.layer.1.output.dense.bias"]
    with pytest.raises(ConfigError, match=r"encoder\.layer\.1\.output\.dense\.bias"):
        build(weights, BertShape(layers=2, heads=4))
