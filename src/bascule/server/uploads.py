"""Documents as they arrive: JSON with text or base64, or a multipart form with files; bounded, and no path is ever opened."""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

import msgspec
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.errors import InvalidRequest, StorageError
from bascule.core.rights import Rights
from bascule.server.bodies import MAX_DOCUMENTS, DocumentsBody, NewDocumentBody
from bascule.server.exchange import Exchange

_FORM_OVERHEAD_BYTES: Final = 1_000_000  # boundaries, headers and fields of a form
_FIELDS: Final = frozenset({"collection", "allow", "deny", "file", "files", "files[]"})
_FILE_FIELDS: Final = frozenset({"file", "files", "files[]"})
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]")
_DECODINGS: Final = 3  # some clients send names percent-encoded, and some attackers twice
_NAME_CHARS: Final = 150
MAX_URLS: Final = 16  # in one request, which waits for them

FetchDocument = Callable[[str], Awaitable[SourceItem | SkippedItem]]


class Upload(msgspec.Struct, frozen=True):
    """What a request brings. `rights` are for items without their own; None inherits the collection's."""

    collection: str
    items: AsyncIterator[SourceItem | SkippedItem] | Iterator[SourceItem | SkippedItem]
    rights: Rights | None


def from_json(body: DocumentsBody, owner: str, fetch: FetchDocument | None = None) -> Upload:
    """`fetch`: gets a document by its URL; None where the server does not. Raises InvalidRequest (param: the field) for a bad
    item: a request is taken whole or not at all. A URL that cannot be had is skipped, with its reason."""
    _distinct([document.external_id for document in body.documents])
    items = [_item(document, at, owner) for at, document in enumerate(body.documents)]
    rights = _rights(body.allow, body.deny, owner)
    urls = {at: document.url for at, document in enumerate(body.documents) if document.url is not None}
    if not urls:
        return Upload(body.collection, iter(items), rights)
    if fetch is None or len(urls) > MAX_URLS:
        why = (
            "This server fetches no URLs: server.fetch_urls is false."
            if fetch is None
            else f"Most are {MAX_URLS} URLs."
        )
        raise InvalidRequest(why, param=f"documents[{min(urls)}].url")
    return Upload(body.collection, _fetched(items, urls, fetch), rights)


async def _fetched(
    items: Sequence[SourceItem], urls: Mapping[int, str], fetch: FetchDocument
) -> AsyncIterator[SourceItem | SkippedItem]:
    """One after the other, so that one document at a time is in memory."""
    for at, item in enumerate(items):
        if at not in urls:
            yield item
            continue
        found = await fetch(urls[at])
        if isinstance(found, SkippedItem):
            yield SkippedItem(external_id=item.external_id, reason=found.reason)
        else:
            yield msgspec.structs.replace(
                item,
                data=found.data,
                name=item.name if item.name != plain_name(item.external_id) else found.name,
                media_type=item.media_type or found.media_type,
                metadata={**found.metadata, **item.metadata},
            )


def _item(document: NewDocumentBody, at: int, owner: str) -> SourceItem:
    return SourceItem(
        external_id=document.external_id,
        name=plain_name(document.name or document.external_id),
        data=_data(document, at),
        title=document.title,
        media_type=document.media_type,
        metadata=document.metadata,
        rights=_rights(document.allow, document.deny, owner),
    )


def _data(document: NewDocumentBody, at: int) -> bytes:
    if [document.text, document.content_base64, document.url].count(None) != 2:
        raise InvalidRequest("Give `text`, `content_base64` or `url`, one of them.", param=f"documents[{at}].text")
    if document.url is not None:
        return b""
    if document.text is not None:
        return document.text.encode()
    try:
        return base64.b64decode(document.content_base64 or "", validate=True)
    except ValueError:  # binascii.Error is one, and what is not ASCII another
        raise InvalidRequest("This is not base64.", param=f"documents[{at}].content_base64") from None


async def read_form(exchange: Exchange, limit_bytes: int) -> FormData:
    """The multipart form, its files spooled to disk. Close it when done. Raises InvalidRequest, TooLarge and StorageError."""
    headers = Headers(raw=[(b"content-type", exchange.headers.get(b"content-type", b""))])
    pieces = exchange.stream(limit_bytes + _FORM_OVERHEAD_BYTES)
    parser = MultiPartParser(headers, pieces, max_files=MAX_DOCUMENTS, max_fields=1_100, max_part_size=4_000)  # type: ignore[arg-type]
    try:
        return await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(f"The form cannot be read: {error.message.rstrip('.')}.") from None
    except ConnectionError:
        raise
    except OSError as error:  # where large files wait
        raise StorageError("The upload cannot be stored: is the disk full?") from error


def from_form(form: FormData, owner: str) -> Upload:
    """Fields `collection`, `allow`*, `deny`* and `file`*. Raises InvalidRequest for anything else."""
    unknown = sorted(set(form.keys()) - _FIELDS)
    if unknown:
        raise InvalidRequest(f"There is no field {unknown[0][:80]!r} in this form.", param=unknown[0][:80])
    collection = form.get("collection")
    if not isinstance(collection, str) or not collection or _UNPRINTABLE.search(collection) or len(collection) > 200:
        raise InvalidRequest("Name the collection.", param="collection")
    files = [f for name in sorted(_FILE_FIELDS) for f in form.getlist(name) if isinstance(f, UploadFile) and f.filename]
    if not files:
        raise InvalidRequest("Send at least one file, with its name.", param="file")
    _distinct([plain_name(file.filename or "") for file in files])
    rights = _rights(_texts(form, "allow") or None, _texts(form, "deny") or None, owner)
    return Upload(collection, _files(files), rights)


async def _files(files: Sequence[UploadFile]) -> AsyncIterator[SourceItem | SkippedItem]:
    for file in files:
        name = plain_name(file.filename or "")
        media_type = (file.content_type or "")[:200]
        yield SourceItem(external_id=name, name=name, data=await file.read(), media_type=media_type)


def plain_name(name: str) -> str:
    """A client's file name without folders, control or direction-changing characters: it names, it never locates."""
    for _ in range(_DECODINGS):
        name = unquote(name, errors="replace")
    last = unicodedata.normalize("NFC", name).replace("\x00", "/").replace("\\", "/").rstrip("/").rpartition("/")[2]
    plain = "".join(c for c in last if unicodedata.category(c)[0] != "C").strip()
    return plain[-_NAME_CHARS:] if plain.strip(". ") else "document"


def _texts(form: FormData, name: str) -> list[str]:
    return [value for value in form.getlist(name) if isinstance(value, str) and value]


def _rights(allow: Sequence[str] | None, deny: Sequence[str] | None, owner: str) -> Rights | None:
    if allow is None and deny is None:
        return None
    return Rights.of(allow or (), deny or (), owner)


def _distinct(external_ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for external_id in external_ids:
        if external_id in seen:
            raise InvalidRequest(f"{external_id[:80]!r} comes twice in one request.", param="external_id")
        seen.add(external_id)
