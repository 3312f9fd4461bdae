"""Sources of every kind, small and real: a git repository, a bucket served over HTTP, and a whole App that follows one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bascule.bootstrap import App, init, open_app
from bascule.core.connectors import Change, ChangesConnector, KnownItem, SourceItem
from bascule.core.principals import system_principal
from bascule.core.rights import Rights
from bascule.rag.sync import SyncReport
from bascule.testing.running import settings_for, until

OPERATOR = system_principal("default")


class Repository:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        own = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
        name = ("-c", "user.name=Ann", "-c", "user.email=ann@example.test", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *name, "-C", str(self.path), *arguments], capture_output=True, text=True, check=True, env=own
        )
        return done.stdout.strip()

    def commit(self, **files: str | bytes | None) -> str:
        """Write files (None removes one; `__` in a name is a slash, `_` before the ending a dot), and commit; the commit's id."""
        return self.commit_files({name.replace("__", "/") + ".md": text for name, text in files.items()})

    def commit_files(self, files: dict[str, Any]) -> str:
        for name, text in files.items():
            path = self.path / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "change")
        return self.git("rev-parse", "HEAD")


def known_from(changes: Sequence[Change]) -> dict[str, KnownItem]:
    return {
        change.external_id: KnownItem(document_id=change.external_id, metadata=change.metadata, rights=Rights())
        for change in changes
        if isinstance(change, SourceItem)
    }


async def listed(connector: ChangesConnector, known: dict[str, KnownItem] | None = None) -> list[Change]:
    return [change async for change in connector.changes(known or {})]


def texts(changes: Sequence[Change]) -> dict[str, str]:
    return {change.external_id: change.data.decode() for change in changes if isinstance(change, SourceItem)}


class Followed:
    """A source in a whole App without an embedding model: `sync` returns when its documents have been worked on."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def sync(self, **more: Any) -> SyncReport:
        assert self.app.sources is not None
        report = await self.app.sources.run("shop", **more)

        async def idle() -> bool:
            return not await self.app.catalogue.unfinished_jobs()

        await until(idle, 60, 0.05)
        return report

    async def found(self, words: str) -> list[str]:
        """The external ids of what is found."""
        assert self.app.questions is not None
        hits = await self.app.questions.search(OPERATOR, words, collections=None, limit=10, where={})
        documents = [await self.app.catalogue.document(OPERATOR, hit.chunk.document_id) for hit in hits]
        return sorted({document.external_id for document in documents})


@asynccontextmanager
async def followed(data: Path, **source: Any) -> AsyncIterator[Followed]:
    settings = settings_for(data, sources={"shop": {"collection": "shop", "allow": ["public"], **source}})
    await init(settings)
    async with open_app(settings, work=True) as app:
        yield Followed(app)


@contextmanager
def bucket_server() -> Iterator[str]:
    """The URL of a real S3 server (moto's) on a free loopback port."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def counts(report: SyncReport) -> tuple[int, int, int]:
    """(taken, unchanged, deleted)."""
    found = msgspec.to_builtins(report)
    return found["taken"], found["unchanged"], found["deleted"]
