"""Run as a process of its own, to be killed: starts on a folder whose index is lost, and fills it again.

    python rebuild_driver.py DATA BEGUN

Makes the file BEGUN when the first points are about to be written. Steps are small: there are many instants to be killed at.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from bascule.bootstrap import open_app
from bascule.rag import index
from bascule.testing.running import settings_for, until


def settings(data: Path) -> Any:
    return settings_for(
        data,
        rag={"embedding_model": "small"},
        providers={"small": {"kind": "echo", "dimension": 64}},
        models={"small": {"targets": [{"provider": "small", "model": "small"}]}},
    )


async def main(data: Path, begun: Path) -> None:
    index.TOGETHER = 2
    upsert = index.Indexer._put_all

    async def telling(self: index.Indexer, *arguments: Any) -> None:
        begun.touch()
        await upsert(self, *arguments)

    index.Indexer._put_all = telling  # type: ignore[method-assign]
    async with open_app(settings(data), work=True) as app:
        assert app.store is not None

        async def whole() -> bool:
            assert app.store is not None
            return await app.store.chunk_ids("default") == await app.catalogue.live_point_ids("default")

        await until(whole, 60)


if __name__ == "__main__":
    asyncio.run(main(*map(Path, sys.argv[1:3])))
