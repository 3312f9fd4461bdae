"""Every catalogue test runs on SQLite and on a real Postgres. When Postgres cannot start, its tests fail with the reason."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from bascule.db.catalogue import SqlCatalogue, connect
from bascule.testing.postgres import server


@pytest.fixture(params=["sqlite", "postgres"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """(catalogue, calls): a new, empty database each."""
    if request.param == "postgres":
        url = server().new_database()
        return url, url
    return f"sqlite:///{tmp_path}/catalogue.sqlite", f"sqlite:///{tmp_path}/calls.sqlite"


@pytest.fixture
async def catalogue(urls: tuple[str, str]) -> AsyncGenerator[SqlCatalogue]:
    async with connect(*urls) as opened:
        yield opened
