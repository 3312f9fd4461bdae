"""Objects of an S3-compatible bucket: AWS, MinIO, R2, Google Cloud Storage by its S3 interface and others.

Needs the extra `bucket`: botocore signs, pages and retries; each request runs in a thread.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from pydantic import Field

from bascule.core.connectors import Change, KnownItem, SkippedItem, SourceItem, UnchangedItem
from bascule.core.errors import ConfigError, StorageError
from bascule.core.resources import Resources
from bascule.plugins.connectors._paths import PathSettings, is_wanted, last_part, printable
from bascule.plugins.connectors._web import only_items

_FROZEN: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_GONE: Final = frozenset({"NoSuchKey", "404"})
_OBJECTS_OWN: Final = frozenset({"AccessDenied", "403", "InvalidObjectState"})


class Settings(PathSettings):
    bucket: str = Field(min_length=1, description="The bucket's name.")
    prefix: str = Field("", description="Take only objects whose keys begin so.")
    endpoint_url: str | None = Field(
        None, description="The service, where it is not AWS, e.g. https://storage.googleapis.com."
    )
    region: str = Field("us-east-1", description="The bucket's region.")
    access_key_id: str | None = Field(
        None, description='A reference: "env:NAME" or "file:PATH"; without it AWS\'s own chain of credentials is asked.'
    )
    secret_access_key: str | None = Field(None, description='A reference: "env:NAME" or "file:PATH".')
    session_token: str | None = Field(None, description='A reference: "env:NAME" or "file:PATH".')
    path_style: bool = Field(False, description="Address the bucket by path and not by host, as MinIO does.")
    timeout_s: float = Field(60.0, gt=0, description="Longest wait for the service to send anything.")


class BucketConnector:
    """`external_id` is an object's key. An object is sent again when its entity tag or size has changed."""

    kind = "bucket"

    def __init__(self, settings: Settings, client: Any) -> None:
        """`client`: botocore's of S3."""
        self._settings = settings
        self._client = client

    def items(self) -> AsyncIterator[SourceItem | SkippedItem]:
        return only_items(self.changes({}))

    async def changes(self, known: Mapping[str, KnownItem]) -> AsyncIterator[Change]:
        async for entry in self._listed():
            yield await self._change(entry, known)

    async def _listed(self) -> AsyncIterator[Mapping[str, Any]]:
        """Page by page. Raises StorageError for a listing that does not come to its end."""
        wanted: dict[str, Any] = {"Bucket": self._settings.bucket, "Prefix": self._settings.prefix}
        while True:
            try:
                page = await asyncio.to_thread(self._client.list_objects_v2, **wanted)
            except _failures() as error:
                raise StorageError(f"The bucket cannot be listed: {_said(error)}.") from None
            for entry in page.get("Contents", ()):
                yield entry
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    async def _change(self, entry: Mapping[str, Any], known: Mapping[str, KnownItem]) -> Change:
        key = str(entry["Key"])
        name = printable(key)
        reason = self._why_not(key, entry)
        if reason:
            return SkippedItem(external_id=name, reason=reason, gone=True)
        metadata = {"etag": str(entry.get("ETag", "")).strip('"'), "size_bytes": int(entry["Size"])}
        before = known.get(name)
        if before is not None and not before.failed and metadata.items() <= before.metadata.items():
            return UnchangedItem(external_id=name)
        if entry.get("LastModified") is not None:
            metadata["modified_at"] = entry["LastModified"].isoformat(timespec="seconds")
        return await self._item(key, name, metadata)

    def _why_not(self, key: str, entry: Mapping[str, Any]) -> str:
        if key.endswith("/"):
            return "It only stands for a folder, and holds nothing."
        if not is_wanted(key, self._settings.include, self._settings.exclude):
            return "Left out by include and exclude."
        if entry.get("StorageClass") in _FROZEN:
            return "It is in an archive class of the service. Restore it there first."
        if int(entry["Size"]) > self._settings.max_file_bytes:
            return f"Larger than {self._settings.max_file_bytes:,} bytes. Split it or raise max_file_bytes."
        return ""

    async def _item(self, key: str, name: str, metadata: dict[str, Any]) -> SourceItem | SkippedItem:
        try:
            data, media_type = await asyncio.to_thread(self._read, key)
        except _failures() as error:
            code = _code(error)
            if code in _GONE:
                return SkippedItem(external_id=name, reason="It was deleted while the bucket was read.", gone=True)
            if code in _OBJECTS_OWN:
                return SkippedItem(
                    external_id=name, reason=f"The service refuses to give it: {_said(error)}. Check its rights."
                )
            raise StorageError(f"The bucket stopped answering: {_said(error)}.") from None
        if len(data) > self._settings.max_file_bytes:
            reason = f"Larger than {self._settings.max_file_bytes:,} bytes. Split it or raise max_file_bytes."
            return SkippedItem(external_id=name, reason=reason)
        guessed = mimetypes.guess_type(key)[0] or ""
        plain = media_type in ("", "binary/octet-stream", "application/octet-stream")
        return SourceItem(
            external_id=name,
            name=printable(last_part(key)),
            data=data,
            media_type=guessed if plain else media_type,
            metadata=metadata,
        )

    def _read(self, key: str) -> tuple[bytes, str]:
        found = self._client.get_object(Bucket=self._settings.bucket, Key=key)
        with found["Body"] as body:
            return body.read(self._settings.max_file_bytes + 1), str(found.get("ContentType") or "")


def _failures() -> tuple[type[Exception], ...]:
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    return BotoCoreError, ClientError, OSError


def _code(error: Exception) -> str:
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _said(error: Exception) -> str:
    """The service's own code, or what kind of trouble it was: messages may hold addresses and keys."""
    return _code(error) or type(error).__name__


def _client(settings: Settings, resources: Resources) -> Any:
    """Raises ConfigError."""
    try:
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError("kind: buckets need the extra: pip install 'bascule[bucket]'.") from None
    if (settings.access_key_id is None) != (settings.secret_access_key is None):
        raise ConfigError("access_key_id and secret_access_key are given together, or neither.")
    given = {
        f"aws_{name}": resources.secret(reference)
        for name in ("access_key_id", "secret_access_key", "session_token")
        if (reference := getattr(settings, name)) is not None
    }
    config = Config(
        connect_timeout=min(10.0, settings.timeout_s),
        read_timeout=settings.timeout_s,
        retries={"max_attempts": 4, "mode": "standard"},
        s3={"addressing_style": "path" if settings.path_style else "auto"},
        # Services other than AWS's do not know the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return Session().create_client(
            "s3", region_name=settings.region, endpoint_url=settings.endpoint_url, config=config, **given
        )
    except (ValueError, BotoCoreError) as error:
        raise ConfigError(f"endpoint_url or region: {type(error).__name__}. Check them.") from None


@asynccontextmanager
async def connect(settings: Settings, resources: Resources) -> AsyncGenerator[BucketConnector]:
    client = await asyncio.to_thread(_client, settings, resources)
    try:
        yield BucketConnector(settings, client)
    finally:
        client.close()
