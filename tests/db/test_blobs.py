from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bascule.core.errors import StorageError
from bascule.db.blobs import FolderBlobs


async def test_bytes_come_back_until_they_are_deleted(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    first, second = await blobs.put(b"same"), await blobs.put(b"same")
    assert first != second
    assert await blobs.get(first) == b"same"
    assert {name for name, age_s in await blobs.names() if 0 <= age_s < 60} == {first, second}
    await blobs.delete(first)
    await blobs.delete(first)
    with pytest.raises(StorageError):
        await blobs.get(first)
    assert await blobs.get(second) == b"same"


async def test_nobody_else_may_read_them_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        await FolderBlobs(tmp_path / "blobs").put(b"x")
    finally:
        os.umask(before)
    modes = {(p.is_dir(), stat.S_IMODE(p.stat().st_mode)) for p in (tmp_path / "blobs", *tmp_path.rglob("blobs/**/*"))}
    assert modes == {(True, 0o700), (False, 0o600)}


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "a/b", "." * 36])
async def test_a_name_cannot_lead_elsewhere(tmp_path: Path, name: str) -> None:
    blobs = FolderBlobs(tmp_path)
    for act in (blobs.get, blobs.delete):
        with pytest.raises(StorageError):
            await act(name)


async def test_a_half_written_file_is_never_listed_or_left(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    (tmp_path / "blobs").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="disk"):
        await blobs.put(b"x")
    (tmp_path / "blobs").unlink()
    assert await blobs.names() == []


async def test_many_are_stored_together_or_none_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    many = [b"one", b"two", b"", b"one"]
    names = await blobs.put_all(many)
    assert len(set(names)) == 4
    assert await blobs.get_all([*names, "0" * 36]) == dict(zip(names, many, strict=True))
    write, left = os.write, [2]

    def full(handle: int, data: memoryview) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr("bascule.db.blobs.os.write", full)
    with pytest.raises(StorageError, match="disk"):
        await blobs.put_all([b"three", b"four", b"five", b"six"])
    assert {name for name, _ in await blobs.names()} == set(names)
    monkeypatch.undo()
    assert await blobs.put_all([]) == []
