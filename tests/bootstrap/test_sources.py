"""The examples of docs/how-to/sources.md, opened as an operator's file would be."""

import tomllib
from pathlib import Path

import pytest
from tests import docs_check

from bascule.bootstrap import init, open_app
from bascule.testing.running import settings_for

PAGE = docs_check.ROOT / "docs" / "how-to" / "sources.md"
EXAMPLES = [tomllib.loads(text) for _, text in docs_check.blocks(PAGE, "toml")]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: "-".join(example.get("sources", example)))
async def test_the_examples_of_the_guide_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example) -> None:
    for name in ("WIKI_AUTHORIZATION", "ARCHIVE_KEY_ID", "ARCHIVE_SECRET"):
        monkeypatch.setenv(name, "Bearer x")
    monkeypatch.setenv("SHOP_DATABASE_URL", f"sqlite:///{tmp_path}/shop.sqlite")
    if "server" in example:
        example.setdefault("sources", {})
    if "sources" not in example:  # the fetcher is opened for sources
        example["sources"] = {"x": {"kind": "url", "urls": ["https://example.com/"], "collection": "x"}}
    example["rag"] = {"embedding_model": None, **example.get("rag", {})}
    settings = settings_for(tmp_path / "data", **example)
    await init(settings)
    async with open_app(settings, work=False) as app:
        assert (app.sources.names() if app.sources else []) == list(example["sources"])
        assert (app.fetch_document is not None) == ("server" in example)


async def test_without_sources_nothing_of_them_is_open(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "data")
    await init(settings)
    async with open_app(settings, work=False) as app:
        assert app.sources is None
