"""A graph whose matrices are packed in four bits, as plain float32 again: in eight bits it then runs twice as fast.

The packing is onnxruntime's MatMulNBits without zero points: for each output, blocks of `block_size` inputs, two values to a byte,
the lower half first, each standing for (value - 8) times the block's scale.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bascule.core.errors import ConfigError

PACKED: Final = "MatMulNBits"
ZERO: Final = 8


def unpacked(path: Path) -> Any:
    """The onnx.ModelProto with a MatMul for every packed one. Raises ConfigError when it is packed in another way."""
    try:
        import onnx
    except ImportError:
        raise ConfigError("Building a model needs the package onnx: pip install 'bascule[models]'") from None
    model = onnx.load(str(path))
    constants = {each.name: each for each in model.graph.initializer}
    nodes, gone = [], set[str]()
    for node in model.graph.node:
        if node.op_type != PACKED:
            nodes.append(node)
            continue
        facts = {each.name: each.i for each in node.attribute}
        if facts.get("bits") != 4 or len(node.input) != 3:
            raise ConfigError(f"The matrices of {path.name} are not packed in four bits around 8.")
        data, packed, scales = node.input
        arrays = [onnx.numpy_helper.to_array(constants[name]) for name in (packed, scales)]
        matrix = _matrix(arrays[0], arrays[1], facts)
        constants[f"{packed}_plain"] = onnx.numpy_helper.from_array(matrix, f"{packed}_plain")
        nodes.append(onnx.helper.make_node("MatMul", [data, f"{packed}_plain"], list(node.output), name=node.name))
        gone |= {packed, scales}
    _put(model.graph.node, nodes)
    _put(model.graph.initializer, [each for name, each in constants.items() if name not in gone])
    _put(model.opset_import, [each for each in model.opset_import if not each.domain])
    onnx.checker.check_model(model)
    return model


def _matrix(packed: npt.NDArray[np.uint8], scales: npt.NDArray[np.float32], facts: dict[str, int]) -> Any:
    """[inputs, outputs] of [outputs, blocks, block_size / 2]."""
    inputs, outputs = facts["K"], facts["N"]
    halves = np.stack((packed & 15, packed >> 4), -1).reshape(outputs, -1, facts["block_size"])
    values = (halves.astype(np.float32) - ZERO) * scales.reshape(outputs, -1, 1)
    return np.ascontiguousarray(values.reshape(outputs, -1)[:, :inputs].T)


def _put(field: Any, values: list[Any]) -> None:
    del field[:]
    field.extend(values)
