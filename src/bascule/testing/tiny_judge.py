"""A judge of sentences small enough to build in a test: each word of the sentence counts for or against entailment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

LABELS = {"0": "contradiction", "1": "ENTAILMENT", "2": "neutral"}


def tiny_judge(folder: Path, weights: Mapping[str, float]) -> Path:
    """`model.onnx`, `tokenizer.json` and `config.json` as published cross-encoders have them: the logits are 0, the sum of the
    sentence's weights (a word not named weighs nothing), 0."""
    folder.mkdir(parents=True, exist_ok=True)
    words = {name: number for number, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *weights])}
    each = np.array([0, 0, 0, 0, *weights.values()], dtype=np.float32)
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["each"]),
        helper.make_node("Cast", ["token_type_ids"], ["sentence"], to=1),
        helper.make_node("Mul", ["each", "sentence"], ["counted"]),
        helper.make_node("ReduceSum", ["counted", "axes"], ["for"], keepdims=1),
        helper.make_node("Sub", ["for", "for"], ["naught"]),
        helper.make_node("Concat", ["naught", "for", "naught"], ["logits"], axis=1),
    ]
    kept = [numpy_helper.from_array(each, "weights"), numpy_helper.from_array(np.array([1]), "axes")]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "t"]) for n in ("input_ids", "token_type_ids")]
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 3])
    graph = helper.make_graph(nodes, "judge", inputs, [out], kept)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(folder / "model.onnx"))
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"id2label": LABELS}), encoding="utf-8")
    return folder
