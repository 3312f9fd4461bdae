"""Models whose matrices come packed in four bits: unpacked they compute what onnxruntime's own packed operator does."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from bascule.core.errors import ConfigError
from bascule.ops import models
from bascule.ops.model_recipes import Recipe
from bascule.ops.model_sources import PinnedFile
from bascule.ops.model_unpack import unpacked

INPUTS, OUTPUTS, BLOCK = 64, 5, 32


def write_packed(path: Path, *, bits: int = 4) -> None:
    rng = np.random.default_rng(1)
    packed = rng.integers(0, 256, (OUTPUTS, INPUTS // BLOCK, BLOCK // 2)).astype(np.uint8)
    scales = rng.random((OUTPUTS, INPUTS // BLOCK)).astype(np.float32)
    node = helper.make_node(
        "MatMulNBits", ["x", "packed", "scales"], ["y"], domain="com.microsoft", K=INPUTS, N=OUTPUTS, bits=bits, block_size=BLOCK
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "packed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", OUTPUTS])],
        [numpy_helper.from_array(packed, "packed"), numpy_helper.from_array(scales, "scales")],
    )
    domains = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=8), str(path))


def run(model: str | bytes, x: Any) -> Any:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_an_unpacked_graph_computes_what_the_packed_one_does(tmp_path: Path) -> None:
    write_packed(tmp_path / "packed.onnx")
    x = np.random.default_rng(2).standard_normal((7, INPUTS)).astype(np.float32)
    plain = unpacked(tmp_path / "packed.onnx")
    assert [node.op_type for node in plain.graph.node] == ["MatMul"]
    assert np.abs(run(plain.SerializeToString(), x) - run(str(tmp_path / "packed.onnx"), x)).max() < 1e-3


def test_another_packing_is_refused(tmp_path: Path) -> None:
    write_packed(tmp_path / "packed.onnx", bits=8)
    with pytest.raises(ConfigError, match="four bits"):
        unpacked(tmp_path / "packed.onnx")


def pinned(path: Path) -> PinnedFile:
    data = path.read_bytes()
    return PinnedFile(name=path.name, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    folder = tmp_path / "published"
    folder.mkdir()
    write_packed(folder / "model_q4.onnx")
    for name in ("tokenizer.json", "config.json", "LICENSE"):
        (folder / name).write_text(f"the {name}", encoding="utf-8")
    return Recipe(
        name="tiny",
        title="a tiny packed model",
        licence="CC-BY-4.0",
        weights=pinned(folder / "model_q4.onnx"),
        tokenizer=pinned(folder / "tokenizer.json"),
        beside=(pinned(folder / "config.json"), pinned(folder / "LICENSE")),
        sources=(f"file:{folder}",),
        without="Nothing is found without it.",
    )


def test_a_pull_keeps_what_was_published_beside_the_model(tmp_path: Path, recipe: Recipe) -> None:
    built = models.pull(tmp_path / "models", recipe=recipe)
    names = sorted(path.name for path in built.folder.iterdir())
    assert names == ["LICENSE", "config.json", "manifest.json", "model.onnx", "tokenizer.json"]
    assert models.check(tmp_path / "models", recipe).state == "ready"
    (built.folder / "config.json").write_text("another", encoding="utf-8")
    found = models.check(tmp_path / "models", recipe)
    assert found.state == "damaged" and "bascule models pull tiny" in found.problem
    assert models.pull(tmp_path / "models", recipe=recipe).fresh


def test_one_that_cannot_be_fetched_says_what_to_bring(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(ConfigError) as caught:
        models.pull(tmp_path / "models", recipe=recipe, sources=["file:/nowhere"])
    assert all(part in caught.value.message for part in ("model_q4.onnx", "LICENSE", "Nothing is found without it."))
