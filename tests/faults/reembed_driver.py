"""Run as a process of its own, to be killed: works on the re-embedding that waits in the folder until it is done.

    python reembed_driver.py DATA BEGUN

Makes the file BEGUN when the first vectors are about to be kept. Steps are small, so that there are many instants to be killed at.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from bascule.bootstrap import open_app
from bascule.core.principals import system_principal
from bascule.rag import reembed
from bascule.testing.running import settings_for


def settings(data: Path) -> Any:
    return settings_for(
        data,
        rag={"embedding_model": "small"},
        providers={"small": {"kind": "echo", "dimension": 64}, "large": {"kind": "echo", "dimension": 96}},
        models={name: {"targets": [{"provider": name, "model": name}]} for name in ("small", "large")},
    )


async def main(data: Path, begun: Path) -> None:
    reembed.STEP_CHUNKS = 2  # type: ignore[misc]
    async with open_app(settings(data), work=True) as app:
        assert app.ingest is not None
        keep = app.catalogue.put_vectors

        async def telling(*arguments: Any) -> None:
            begun.touch()
            await keep(*arguments)

        app.catalogue.put_vectors = telling  # type: ignore[method-assign]
        await app.catalogue.resume_jobs(system_principal("default"), "collection", "docs")
        while await app.catalogue.unfinished_jobs():
            await asyncio.sleep(0.02)
        await app.ingest.settle()


if __name__ == "__main__":
    asyncio.run(main(*map(Path, sys.argv[1:3])))
