"""Objects of a bucket, from a real S3 server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.core.connectors import SkippedItem, UnchangedItem
from bascule.core.errors import ConfigError, StorageError
from bascule.core.resources import Resources
from bascule.plugins.connectors.bucket import BucketConnector, Settings, _client
from bascule.testing.connector_contract import check_connector
from bascule.testing.sources import bucket_server, counts, followed, known_from, listed, texts

KEYS = {"ACCESS": "AKIAEXAMPLE", "SECRET": "planted-secret"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with bucket_server() as url:
        yield url


@pytest.fixture
def settings(endpoint: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    name = "b" + str(abs(hash(request.node.name)))
    return {
        "bucket": name,
        "endpoint_url": endpoint,
        "path_style": True,
        "access_key_id": "env:ACCESS",
        "secret_access_key": "env:SECRET",
    }


def client(settings: dict[str, Any]) -> Any:
    resources = Resources(http=None, data=Path(), models=Path(), secret=lambda ref: KEYS[ref[4:]])  # type: ignore[arg-type]
    return _client(Settings(**settings), resources)


def connector(settings: dict[str, Any], **more: Any) -> BucketConnector:
    return BucketConnector(Settings(**settings, **more), client(settings))


@pytest.fixture
def bucket(settings: dict[str, Any]) -> Any:
    """(put, delete) on a fresh bucket with three objects."""
    s3 = client(settings)
    s3.create_bucket(Bucket=settings["bucket"])

    class Bucket:
        def put(self, key: str, text: str, **more: Any) -> None:
            s3.put_object(Bucket=settings["bucket"], Key=key, Body=text.encode(), **more)

        def delete(self, key: str) -> None:
            s3.delete_object(Bucket=settings["bucket"], Key=key)

    made = Bucket()
    for key in ("docs/a.md", "docs/größe b.txt", "other.html"):
        made.put(key, f"text of {key}")
    return made


async def test_a_bucket_keeps_the_contract(settings: dict[str, Any], bucket: Any) -> None:
    bucket.put("docs/", "")
    await check_connector(lambda: connector(settings), expected=["docs/a.md", "docs/größe b.txt", "other.html"])


async def test_only_changed_objects_are_fetched_again_and_deleted_ones_are_not_named(
    settings: dict[str, Any], bucket: Any
) -> None:
    first = await listed(connector(settings))
    bucket.put("docs/a.md", "changed")
    bucket.delete("other.html")
    second = await listed(connector(settings), known_from(first))
    assert texts(second) == {"docs/a.md": "changed"}
    assert [c.external_id for c in second if isinstance(c, UnchangedItem)] == ["docs/größe b.txt"]
    assert len(second) == 2


async def test_prefix_patterns_sizes_and_kinds(settings: dict[str, Any], bucket: Any) -> None:
    bucket.put("docs/page", "<p>x</p>", ContentType="text/html")
    bucket.put("docs/big.txt", "x" * 101)
    bucket.put("docs/old.txt", "x", StorageClass="GLACIER")
    changes = await listed(connector(settings, prefix="docs/", exclude=("*.md",), max_file_bytes=100))
    assert set(texts(changes)) == {"docs/page", "docs/größe b.txt"}
    kinds = {c.external_id: c.media_type for c in changes if hasattr(c, "media_type")}
    assert kinds == {"docs/page": "text/html", "docs/größe b.txt": "text/plain"}
    reasons = {c.external_id: c.reason for c in changes if isinstance(c, SkippedItem)}
    assert "max_file_bytes" in reasons["docs/big.txt"] and "archive class" in reasons["docs/old.txt"]


async def test_a_listing_of_many_pages_is_read_whole(
    settings: dict[str, Any], bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    for number in range(105):
        bucket.put(f"n/{number:04}.txt", "x" if number != 104 else "the last")
    found = texts(await listed(connector(settings, prefix="n/", include=("*[0-9]4.txt",))))
    assert found["n/0104.txt"] == "the last" and len(found) == 11


async def test_an_object_deleted_in_between_is_gone_and_a_bucket_that_is_not_there_stops_the_run(
    settings: dict[str, Any], bucket: Any
) -> None:
    made = connector(settings)
    changes = []
    async for change in made.changes({}):
        changes.append(change)
        if len(changes) == 1:
            bucket.delete("other.html")
    assert isinstance(changes[-1], SkippedItem) and changes[-1].gone
    with pytest.raises(StorageError, match="NoSuchBucket") as raised:
        await listed(connector(settings | {"bucket": "no-such-bucket"}))
    assert "planted-secret" not in str(raised.value)


async def test_a_service_that_does_not_answer_stops_the_run(settings: dict[str, Any]) -> None:
    closed = settings | {"endpoint_url": "http://127.0.0.1:9", "timeout_s": 1.0}
    with pytest.raises(StorageError, match="cannot be listed"):
        await listed(connector(closed))


@pytest.mark.parametrize("wrong", [{"secret_access_key": None}, {"endpoint_url": "no url"}])
def test_a_wrong_setting_is_a_configuration_error(settings: dict[str, Any], wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        client(settings | wrong)


async def test_objects_are_followed_into_search_and_out_of_it(
    settings: dict[str, Any], bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    for number in range(5):
        bucket.put(f"docs/{number}.txt", "Steel frames are returned.")
    async with followed(tmp_path / "data", kind="bucket", prefix="docs/", **settings) as shop:
        assert counts(await shop.sync()) == (7, 0, 0)
        bucket.delete("docs/0.txt")
        bucket.put("docs/1.txt", "Wooden wheels.")
        assert counts(await shop.sync()) == (1, 5, 1)
        assert await shop.found("steel frames") == [f"docs/{n}.txt" for n in (2, 3, 4)]
        assert await shop.found("wooden wheels") == ["docs/1.txt"]
