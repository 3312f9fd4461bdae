from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from bascule.core.resources import Resources
from bascule.core.vectors import VectorStore
from bascule.plugins import vector_stores
from bascule.plugins.vector_stores.memory import MemoryVectorStore
from bascule.plugins.vector_stores.sqlite import SqliteVectorStore
from bascule.testing.vector_store_contract import VectorStoreContract, agree

KINDS = [module.name for module in pkgutil.iter_modules(vector_stores.__path__)]


def resources(folder: Path) -> Resources:
    unused: Any = None
    return Resources(http=unused, data=folder, models=folder, secret=lambda reference: reference)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind(VectorStoreContract):
    """A file dropped into plugins/vector_stores is tested here without further ado."""

    @pytest.fixture
    async def store(self, kind: str, tmp_path: Path) -> AsyncGenerator[VectorStore]:
        plugin = importlib.import_module(f"{vector_stores.__name__}.{kind}")
        async with plugin.connect(plugin.Settings(), resources(tmp_path)) as store:
            yield store


def test_both_shipped_kinds_are_found() -> None:
    assert {"memory", "sqlite"} <= set(KINDS)


@pytest.mark.parametrize("seed", range(6))
async def test_sqlite_answers_like_the_naive_reference_after_any_history(tmp_path: Path, seed: int) -> None:
    # Odd seeds reuse freed slots at once, so that what was there before must not shine through.
    store = SqliteVectorStore(tmp_path, rest_s=0 if seed % 2 else None)
    try:
        await agree(store, MemoryVectorStore(), seed, steps=60)
        assert await store.check() == []
    finally:
        await store.close()
