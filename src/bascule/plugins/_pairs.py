"""An ONNX graph that reads two texts together, with its tokenizer, in a folder of the operator's: no torch and no vendor."""

from __future__ import annotations

import asyncio
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal

from bascule.core.errors import ConfigError

_INPUTS: Final = frozenset({"input_ids", "attention_mask", "token_type_ids"})


class PairModel:
    """One pair at a time on a thread of its own: a batch of a quantised graph would let pairs change each other's scores."""

    def __init__(self, session: Any, tokenizer: Any, name: str) -> None:
        self._session = session
        self._tokenizer = tokenizer
        self._inputs = [given.name for given in session.get_inputs()]
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def logits(self, first: str, second: str) -> list[float]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, first, second)

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    def _read(self, first: str, second: str) -> list[float]:
        import numpy as np

        encoding = self._tokenizer.encode(first, second)
        known = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        given = {name: np.array([known[name]], dtype=np.int64) for name in self._inputs}
        return [float(value) for value in self._session.run(None, given)[0].reshape(-1)]


def load_pairs(
    folder: Path, *, name: str, sha256: str | None, max_tokens: int, cut: Literal["only_first", "only_second"]
) -> PairModel:
    """`name`: what it is, as in rag.NAME. `cut`: which of the two texts is shortened to `max_tokens`.

    Raises ConfigError for a folder without the two files, another file than `sha256` says, and a graph of another kind.
    """
    import onnxruntime

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its pool would warn at every child process
    from tokenizers import Tokenizer

    graph, words = folder / "model.onnx", folder / "tokenizer.json"
    for file in (graph, words):
        if not file.is_file():
            raise ConfigError(f"The {name}'s folder {str(folder)!r} holds no {file.name}.")
    if sha256 is not None:
        with graph.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != sha256:
                raise ConfigError(f"{str(graph)!r} is not the file that rag.{name}.sha256 names.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        tokenizer = Tokenizer.from_file(str(words))
    except Exception as error:  # noqa: BLE001 - the errors of the two libraries have no other base
        raise ConfigError(f"The {name} in {str(folder)!r} cannot be loaded: {type(error).__name__}.") from None
    unknown = sorted({given.name for given in session.get_inputs()} - _INPUTS)
    if unknown:
        raise ConfigError(f"The {name} in {str(folder)!r} is no cross-encoder: it asks for {', '.join(unknown)}.")
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens, strategy=cut)
    return PairModel(session, tokenizer, name)
