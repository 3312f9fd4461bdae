"""Text in pictures by RapidOCR (PaddleOCR's models on ONNX Runtime, inside its wheel): nothing is downloaded.

Imported only where the extra `ocr` is installed, and by the first picture of a child process: it takes seconds and memory.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np

from bascule.core.parsing import Recognised

MAX_SIDE: Final = 2_000  # pixels: letters of 8 points on a page of A4 are still read
_SHARE: Final = 0.7  # of its time after which a document's next page is not begun
_MIN_SIDE: Final = 8
_MIN_SCORE: Final = 0.6
_ENGINE: Final = {
    "Global.max_side_len": MAX_SIDE,
    "Global.text_score": _MIN_SCORE,
    "Global.use_cls": False,  # lines upside down, which pages that are scanned properly have not
    "Global.log_level": "critical",
    "Det.limit_side_len": 480,  # smaller pictures are enlarged to find their letters; 736 costs three times as much
    "Rec.rec_batch_num": 1,  # batches are no faster on a processor and take several times the memory
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}


class Ocr:
    """For one document. `before` raises the process's limits ahead of its first picture."""

    max_side = MAX_SIDE

    def __init__(self, *, pages: int, cpu_s: float, wall_s: float, before: Callable[[], None]) -> None:
        self._pages = pages
        self._cpu_s = cpu_s
        self._wall_s = wall_s
        self._before: Callable[[], None] | None = before
        self._cpu_from = self._wall_from = 0.0

    def read(self, pixels: Any) -> Sequence[Recognised] | None:
        if self._before is not None:
            self._before()
            self._before = None
            self._cpu_from, self._wall_from = time.process_time(), time.monotonic()
        if not self._has_time() or not self._pages:
            return None
        self._pages -= 1
        if min(pixels.shape[:2]) < _MIN_SIDE:
            return []
        found = _engine()(np.ascontiguousarray(pixels[:, :, ::-1]))  # it takes blue, green, red
        if found.boxes is None or found.txts is None:
            return []
        return [_line(text, box) for text, box in zip(found.txts, found.boxes, strict=True) if text.strip()]

    def _has_time(self) -> bool:
        cpu_s, wall_s = time.process_time() - self._cpu_from, time.monotonic() - self._wall_from
        return cpu_s < _SHARE * self._cpu_s and wall_s < _SHARE * self._wall_s


@cache
def _engine() -> Any:
    from rapidocr import RapidOCR

    logging.getLogger("RapidOCR").handlers.clear()  # what it logs may quote the document
    return RapidOCR(params=_ENGINE)


def _line(text: str, box: Any) -> Recognised:
    xs, ys = [float(x) for x, _ in box], [float(y) for _, y in box]
    return Recognised(text.strip(), (min(xs), min(ys), max(xs), max(ys)))
