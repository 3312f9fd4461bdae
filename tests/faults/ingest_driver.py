"""Run as a process of its own, to be killed: takes a folder in and works until everything is done.

    python ingest_driver.py DATA DOCUMENTS ACKNOWLEDGED

Writes the job's id to the file ACKNOWLEDGED once the documents are accepted: from then on nothing may be lost. At every start
it touches ACKNOWLEDGED.works once they are worked on.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bascule.bootstrap import open_app
from bascule.core.connectors import SourceItem
from bascule.core.principals import system_principal
from bascule.core.rights import Rights
from bascule.testing.running import settings_for


async def main(data: Path, documents: Path, acknowledged: Path) -> None:
    who = system_principal("default")
    async with open_app(settings_for(data), work=True) as app:
        assert app.ingest is not None
        if not acknowledged.exists():
            items = [
                SourceItem(external_id=path.name, name=path.name, data=path.read_bytes())
                for path in sorted(documents.iterdir())
            ]
            job, _ = await app.ingest.take(who, "docs", items, Rights.of(allow=["public"]))
            acknowledged.write_text(job.id)
        acknowledged.with_suffix(".works").touch()
        while await app.catalogue.unfinished_jobs():
            await asyncio.sleep(0.02)
        await app.ingest.settle()


if __name__ == "__main__":
    asyncio.run(main(*map(Path, sys.argv[1:4])))
