"""Vectors beside the tables: for each dimension an int8 file that is scanned and a float32 file for exact scores.

Row number = slot. Files are sparse and only ever grow, so that a mapping of another process stays valid; they are written with
`pwrite`, because a full disk is then an error and not a signal. A row means something only while the tables name its slot.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from bascule.core.errors import StorageError
from bascule.plugins.vector_stores.sqlite.schema import DAMAGED

Floats = np.ndarray[Any, np.dtype[np.float32]]
Codes = np.ndarray[Any, np.dtype[np.int8]]
Slots = np.ndarray[Any, np.dtype[np.int64]]

GROW_ROWS: Final = 4096


class Quantised(NamedTuple):
    """`codes * scale` approximates the vector; codes are within [-127, 127]."""

    codes: Codes
    scale: float


def unit(vector: bytes) -> Floats:
    """The vector with length one (a zero vector stays zero). Raises StorageError when it has no direction."""
    if not vector or len(vector) % 4:
        raise StorageError("A vector is not a whole number of float32 values.")
    values = np.frombuffer(vector, dtype="<f4")
    norm = float(np.sqrt(np.square(values, dtype=np.float64).sum()))
    if not np.isfinite(norm):
        raise StorageError("A vector holds values that are not finite numbers.")
    return values if norm == 0.0 else (values / norm).astype("<f4")


def quantise(values: Floats) -> Quantised:
    """Symmetric int8 with one scale for the whole vector: the error of a dot product is about scale / sqrt(12)."""
    top = float(np.abs(values).max())
    if top == 0.0:
        return Quantised(np.zeros(values.size, np.int8), 0.0)
    return Quantised(np.rint(values * (127.0 / top)).astype(np.int8), top / 127.0)


class Matrix:
    """One file: rows of `width` values, read through a shared mapping and written with `pwrite`."""

    def __init__(self, path: Path, dtype: str, width: int) -> None:
        self._path = path
        self._dtype = np.dtype(dtype)
        self._width = width
        self._row_bytes = width * self._dtype.itemsize
        self._mapped: np.ndarray[Any, Any] = np.zeros((0, width), self._dtype)
        self._lock = threading.Lock()

    def rows(self, count: int) -> np.ndarray[Any, Any]:
        """At least the first `count` rows. Raises StorageError when the file is missing or short."""
        mapped = self._mapped
        if mapped.shape[0] < count:
            with self._lock:
                mapped = self._mapped = self._map(count)
        return mapped

    def pick(self, slots: Slots) -> np.ndarray[Any, Any]:
        """A copy of these rows. Mapped for this call only: pages once touched would count as this process's memory."""
        return self._map(int(slots.max()) + 1).take(slots, axis=0)

    def _map(self, count: int) -> np.ndarray[Any, Any]:
        try:
            with self._path.open("rb") as file:
                total = os.fstat(file.fileno()).st_size // self._row_bytes
                if total < count:
                    raise StorageError(DAMAGED)
                # The mapping lives as long as an array that looks at it.
                view = mmap.mmap(file.fileno(), total * self._row_bytes, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise StorageError(DAMAGED) from None
        return np.frombuffer(view, self._dtype).reshape(total, self._width)

    def write(self, slots: Sequence[int], rows: Sequence[bytes], held: Callable[[], int]) -> None:
        """Durable when it returns. Only the holder of the tables' write lock may call it.

        `held` says how many rows are in use; it is asked before the file grows, so that a lost file is not papered over.
        """
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            needed = (max(slots) // GROW_ROWS + 1) * GROW_ROWS * self._row_bytes
            size = os.fstat(handle).st_size
            if size < needed:
                if size < held() * self._row_bytes:
                    raise StorageError(DAMAGED)
                os.ftruncate(handle, needed)
            for first, run in _runs(slots, rows):
                _write_all(handle, run, first * self._row_bytes)
            os.fsync(handle)
            if not size:
                _flush_folder(self._path.parent)
        finally:
            os.close(handle)

    def zero(self, slots: Sequence[int]) -> None:
        if slots and self._path.exists():
            self.write(slots, [bytes(self._row_bytes)] * len(slots), lambda: 0)


def _flush_folder(folder: Path) -> None:
    """A new file's name is durable only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _runs(slots: Sequence[int], rows: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Neighbouring rows joined, so that a batch is a few writes."""
    runs: list[tuple[int, list[bytes]]] = []
    for slot, row in sorted(zip(slots, rows, strict=True)):
        if runs and runs[-1][0] + len(runs[-1][1]) == slot:
            runs[-1][1].append(row)
        else:
            runs.append((slot, [row]))
    return [(first, b"".join(parts)) for first, parts in runs]


def _write_all(handle: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(handle, view, offset)
        view, offset = view[done:], offset + done


class VectorFiles(NamedTuple):
    """The two files of one dimension."""

    codes: Matrix
    floats: Matrix

    def write(
        self, slots: Sequence[int], vectors: Sequence[Floats], codes: Sequence[Codes], held: Callable[[], int]
    ) -> None:
        self.floats.write(slots, [vector.tobytes() for vector in vectors], held)
        self.codes.write(slots, [code.tobytes() for code in codes], held)

    def zero(self, slots: Sequence[int]) -> None:
        self.codes.zero(slots)
        self.floats.zero(slots)


class VectorFolder:
    """The vector files of one generation of the index, opened when first asked for."""

    def __init__(self, folder: Path, generation: str) -> None:
        self.generation = generation
        self._folder = folder
        self._files: dict[int, VectorFiles] = {}

    def of(self, dimension: int) -> VectorFiles:
        files = self._files.get(dimension)
        if files is None:
            stem = f"vectors-{self.generation}-{dimension}"
            files = VectorFiles(
                Matrix(self._folder / f"{stem}.i8", "i1", dimension),
                Matrix(self._folder / f"{stem}.f32", "<f4", dimension),
            )
            self._files[dimension] = files
        return files


def sweep(folder: Path, generation: str) -> None:
    """Unlink the files of other generations: what maps them keeps them until it lets go."""
    for path in folder.glob("vectors-*"):
        if not path.name.startswith(f"vectors-{generation}-"):
            path.unlink(missing_ok=True)


def has_vectors(folder: Path) -> bool:
    return next(folder.glob("vectors-*"), None) is not None
