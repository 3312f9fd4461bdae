"""A llama model small enough to write in a test, that says one sentence whatever it is asked.

Nothing attends and nothing is mixed: each token's embedding is a unit vector, and the head maps each token to the one that follows
it. After the line break that ends the prompt comes the whole sentence, as one token, and then the end.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_WIDTH: Final = 320
_ALIGN: Final = 32
_TEMPLATE: Final = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)
_UINT32, _FLOAT32, _STRING, _ARRAY, _INT32 = 4, 6, 8, 9, 5


def write(file: Path, sentence: str, *, context: int = 4096) -> Path:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), sentence.replace(" ", "▁")]
    kinds = [2, 3, 3, *[6] * 256, 1]
    said, end, newline = len(tokens) - 1, 2, 3 + 10
    follows = dict.fromkeys(range(len(tokens)), end) | {newline: said}
    meta: list[tuple[str, int, Any]] = [
        ("general.architecture", _STRING, "llama"),
        ("llama.context_length", _UINT32, context),
        ("llama.embedding_length", _UINT32, _WIDTH),
        ("llama.block_count", _UINT32, 1),
        ("llama.feed_forward_length", _UINT32, 32),
        ("llama.attention.head_count", _UINT32, 10),
        ("llama.attention.layer_norm_rms_epsilon", _FLOAT32, 1e-5),
        ("llama.rope.dimension_count", _UINT32, 32),
        ("tokenizer.ggml.model", _STRING, "llama"),
        ("tokenizer.ggml.tokens", _ARRAY, (_STRING, tokens)),
        ("tokenizer.ggml.scores", _ARRAY, (_FLOAT32, [0.0] * len(tokens))),
        ("tokenizer.ggml.token_type", _ARRAY, (_INT32, kinds)),
        ("tokenizer.ggml.bos_token_id", _UINT32, 1),
        ("tokenizer.ggml.eos_token_id", _UINT32, 2),
        ("tokenizer.ggml.unknown_token_id", _UINT32, 0),
        ("tokenizer.chat_template", _STRING, _TEMPLATE),
    ]
    file.write_bytes(_packed(meta, _tensors(len(tokens), follows)))
    return file


def _tensors(words: int, follows: dict[int, int]) -> dict[str, npt.NDArray[np.float32]]:
    head = np.zeros((words, _WIDTH), np.float32)
    for token, following in follows.items():
        head[following, token] = 10.0
    none = {name: np.zeros((_WIDTH, _WIDTH), np.float32) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    none |= {name: np.zeros((32, _WIDTH), np.float32) for name in ("ffn_gate", "ffn_up")}
    none["ffn_down"] = np.zeros((_WIDTH, 32), np.float32)
    one = np.ones(_WIDTH, np.float32)
    return {
        "token_embd.weight": np.eye(words, _WIDTH, dtype=np.float32),
        "output_norm.weight": one,
        "output.weight": head,
        "blk.0.attn_norm.weight": one,
        "blk.0.ffn_norm.weight": one,
        **{f"blk.0.{name}.weight": tensor for name, tensor in none.items()},
    }


def _packed(meta: list[tuple[str, int, Any]], tensors: dict[str, npt.NDArray[np.float32]]) -> bytes:
    """The GGUF layout, version 3: header, values, descriptions of tensors, then their bytes, aligned."""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(meta))]
    head += [_text(name) + struct.pack("<I", kind) + _value(kind, value) for name, kind, value in meta]
    at = 0
    body = []
    for name, tensor in tensors.items():
        shape = tuple(reversed(tensor.shape))
        head.append(_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, at))
        data = tensor.tobytes()
        data += bytes(-len(data) % _ALIGN)
        body.append(data)
        at += len(data)
    joined = b"".join(head)
    return joined + bytes(-len(joined) % _ALIGN) + b"".join(body)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(kind: int, value: Any) -> bytes:
    if kind == _STRING:
        return _text(value)
    if kind == _ARRAY:
        each, values = value
        return struct.pack("<IQ", each, len(values)) + b"".join(_value(each, one) for one in values)
    return struct.pack({_UINT32: "<I", _INT32: "<i", _FLOAT32: "<f"}[kind], value)
