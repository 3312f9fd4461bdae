"""Files of a git repository on this machine, as a branch, tag or commit has them: read from git's objects, never from a worktree.

Only `rev-parse`, `ls-tree` and `cat-file` are run, which run no hook and no filter of the repository and reach no network.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
from pydantic import Field

from bascule.core.connectors import Change, KnownItem, SkippedItem, SourceItem, UnchangedItem
from bascule.core.errors import ConfigError, StorageError
from bascule.core.resources import Resources
from bascule.plugins.connectors._paths import PathSettings, is_wanted, last_part, printable
from bascule.plugins.connectors._web import only_items

_LONGEST_S: Final = 300.0
_ENVIRONMENT: Final = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin",
    "LC_ALL": "C",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
# The operator named the repository, whoever owns it.
_OPTIONS: Final = tuple(
    part
    for option in ("safe.directory=*", "core.fsmonitor=false", "core.hooksPath=/dev/null", "protocol.allow=never")
    for part in ("-c", option)
)
_LFS: Final = b"version https://git-lfs.github.com/spec/"
_SYMLINK, _SUBMODULE = "120000", "160000"


class Settings(PathSettings):
    path: Path = Field(description="The repository: a clone's folder, or a bare one.")
    ref: str = Field("HEAD", min_length=1, description="Branch, tag or commit.")
    folder: str = Field("", description="Take only what is below this folder of the repository.")
    url: str = Field("", description="Where a file is shown, e.g. https://git.example.com/shop/blob/main/{path}.")


class Entry(msgspec.Struct, frozen=True):
    mode: str
    blob: str
    size_bytes: int
    path: str


class GitConnector:
    """`external_id` is a file's path in the repository. What has the same content is not read again."""

    kind = "git"

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError."""
        if settings.ref.startswith("-"):
            raise ConfigError("ref: a branch, tag or commit does not begin with a dash.")
        self._settings = settings

    def items(self) -> AsyncIterator[SourceItem | SkippedItem]:
        return only_items(self.changes({}))

    async def changes(self, known: Mapping[str, KnownItem]) -> AsyncIterator[Change]:
        commit = (
            (await self._run("rev-parse", "--verify", "--quiet", "--end-of-options", self._settings.ref + "^{commit}"))
            .decode()
            .strip()
        )
        tree = ["--", self._settings.folder.strip("/") + "/"] if self._settings.folder.strip("/") else []
        listed = await self._run("ls-tree", "-r", "-z", "--long", "--full-tree", commit, *tree)
        entries = list(_entries(listed))
        if tree and not entries:
            raise StorageError(f"There is no folder {self._settings.folder!r} at {self._settings.ref}.")
        async with self._reader() as reader:
            for entry in entries:
                yield await self._change(entry, known, reader)

    async def _change(self, entry: Entry, known: Mapping[str, KnownItem], reader: _Reader) -> Change:
        name = printable(entry.path)
        reason = self._why_not(entry)
        if reason:
            return SkippedItem(external_id=name, reason=reason, gone=True)
        before = known.get(name)
        metadata = self._metadata(entry)
        if before is not None and not before.failed and metadata.items() <= before.metadata.items():
            return UnchangedItem(external_id=name)
        data = await reader.read(entry.blob)
        if data.startswith(_LFS):
            return SkippedItem(
                external_id=name, reason="Kept by Git LFS: the repository holds only a pointer to it.", gone=True
            )
        return SourceItem(
            external_id=name,
            name=printable(last_part(entry.path)),
            data=data,
            media_type=mimetypes.guess_type(entry.path)[0] or "",
            metadata=metadata,
        )

    def _metadata(self, entry: Entry) -> dict[str, Any]:
        found = {"blob": entry.blob, "path": printable(entry.path)}
        if self._settings.url:
            found["url"] = self._settings.url.replace("{path}", quote(entry.path))
        return found

    def _why_not(self, entry: Entry) -> str:
        if entry.mode == _SYMLINK:
            return "A symbolic link. The file it names is taken where it is."
        if entry.mode == _SUBMODULE:
            return "A submodule. Make it a source of its own."
        if any(part.startswith(".") for part in entry.path.split("/")):
            return "Hidden. Hidden files of a repository are its tools' own."
        if not is_wanted(entry.path, self._settings.include, self._settings.exclude):
            return "Left out by include and exclude."
        if entry.size_bytes > self._settings.max_file_bytes:
            return f"Larger than {self._settings.max_file_bytes:,} bytes. Split it or raise max_file_bytes."
        return ""

    async def _run(self, *arguments: str) -> bytes:
        process = await self._start(*arguments)
        try:
            async with asyncio.timeout(_LONGEST_S):
                out, err = await process.communicate()
        except TimeoutError:
            raise StorageError(f"git {arguments[0]} did not end within {_LONGEST_S:.0f} s.") from None
        finally:
            await _ended(process)
        if process.returncode != 0:
            raise StorageError(self._explained(arguments[0], err))
        return out

    def _explained(self, command: str, err: bytes) -> str:
        said = err.decode("utf-8", "replace").strip().splitlines()
        if command == "rev-parse" and not said:
            return f"The repository has no {self._settings.ref!r}. Check ref."
        return f"git cannot read the repository: {said[0][:200] if said else 'no reason given'}. Check path."

    async def _start(self, *arguments: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        command = ("git", *_OPTIONS, "--no-pager", "-C", str(self._settings.path), *arguments)
        try:
            return await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=pipe, env=_ENVIRONMENT
            )
        except FileNotFoundError:
            raise StorageError("The program git is not installed. Install it where the server runs.") from None

    @asynccontextmanager
    async def _reader(self) -> AsyncGenerator[_Reader]:
        process = await self._start("cat-file", "--batch")
        try:
            yield _Reader(process)
        finally:
            await _ended(process)


class _Reader:
    """One `git cat-file --batch`: a process for a whole run, not one for each file."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def read(self, blob: str) -> bytes:
        assert self._process.stdin and self._process.stdout
        try:
            async with asyncio.timeout(_LONGEST_S):
                self._process.stdin.write(blob.encode() + b"\n")
                await self._process.stdin.drain()
                head = (await self._process.stdout.readline()).split()
                if len(head) != 3 or head[1] != b"blob":
                    raise StorageError("The repository lacks an object. Run `git fsck` in it.")
                data = await self._process.stdout.readexactly(int(head[2]) + 1)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, ValueError):
            raise StorageError("git stopped answering while files were read.") from None
        return data[:-1]


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


def _entries(listed: bytes) -> Iterator[Entry]:
    """`<mode> <type> <object> <size>TAB<path>`, parted by NUL."""
    for row in listed.split(b"\0"):
        if row:
            head, _, path = row.partition(b"\t")
            mode, _, blob, size = head.decode().split()
            yield Entry(mode, blob, int(size) if size.isdigit() else 0, path.decode("utf-8", "backslashreplace"))


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[GitConnector]:
    yield GitConnector(settings)


__all__: Sequence[str] = ["GitConnector", "Settings", "connect"]
