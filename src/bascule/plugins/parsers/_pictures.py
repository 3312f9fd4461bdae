"""Pictures to pixels: what a file claims to be is checked before anything is decoded, and only then the picture is drawn.

Imported only where the extra `ocr` is installed, which brings Pillow.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from PIL import Image, ImageOps

from bascule.core.errors import IngestError

MAX_PIXELS: Final = 50_000_000  # a page of A4 at 600 dots per inch has 35 million
_FORMATS: Final = ("PNG", "JPEG", "GIF", "TIFF", "WEBP")
_DAMAGED: Final = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, OverflowError, AttributeError, ZeroDivisionError,
    NotImplementedError, RuntimeError, AssertionError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


def frames(data: bytes, max_side: int) -> Iterator[Any]:
    """The pictures of a file as arrays of red, green and blue, none longer than `max_side`: all of a TIFF file, else the first.

    Raises IngestError for a picture that is damaged or has more than MAX_PIXELS.
    """
    _check_webp(data)
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # a second wall: formats whose frames may be larger than their header says
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                yield from _frames(image, max_side)
    except Image.DecompressionBombWarning:
        raise _too_large() from None
    except Image.DecompressionBombError:
        raise _too_large() from None
    except _DAMAGED:
        raise IngestError(
            "The image is damaged. Open it in its own program and save it again.", reason="damaged"
        ) from None


def _frames(image: Any, max_side: int) -> Iterator[Any]:
    number = 0
    while True:
        _check_size(*image.size)
        yield _pixels(image, max_side)
        number += 1
        if image.format != "TIFF":
            return
        try:
            image.seek(number)
        except EOFError:
            return


def _pixels(image: Any, max_side: int) -> Any:
    if image.format == "JPEG":
        image.draft("RGB", (max_side, max_side))  # decoded at an eighth, a quarter or half where that is enough
    image.load()
    turned = ImageOps.exif_transpose(image)
    shown = _upon_white(turned if turned is not None else image)
    shown.thumbnail((max_side, max_side))
    return np.asarray(shown)


def _upon_white(image: Any) -> Any:
    if image.mode.startswith(("I", "F")):  # one number for each pixel, of any size
        values = np.nan_to_num(np.asarray(image, dtype=np.float32))
        low, high = float(values.min()), float(values.max())
        return Image.fromarray(((values - low) * (255 / ((high - low) or 1))).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        clear = image.convert("RGBA")
        ground = Image.new("RGBA", clear.size, "white")
        ground.alpha_composite(clear)
        return ground.convert("RGB")
    return image.convert("RGB")


def _check_webp(data: bytes) -> None:
    """Its decoder makes room for the whole picture before it tells its size."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return
    kind = data[12:16]
    if kind == b"VP8X":
        _check_size(1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little"))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        _check_size(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    elif kind == b"VP8 ":
        _check_size(int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large()


def _too_large() -> IngestError:
    most = f"{MAX_PIXELS // 1_000_000} million"
    return IngestError(f"The image has more than {most} pixels. Save it smaller.", reason="too_large")
