"""Documents of a set with attacks: put in before its questions are asked, and deleted afterwards, however that ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from bascule.cli.backend import Backend
from bascule.cli.output import Output
from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.errors import Conflict, NotFound
from bascule.core.rights import Rights

if TYPE_CHECKING:
    from bascule.evals.planted import Place

_MOST: Final = 10_000


@asynccontextmanager
async def planted(
    backend: Backend, place: Place, texts: Mapping[str, Sequence[str]], out: Output
) -> AsyncGenerator[None]:
    """Readable for administrators alone. Raises Conflict when one of the collections holds documents already."""
    for name in texts:
        if await _ids(backend, name):
            raise Conflict(f"The collection {name!r} holds documents: choose another name for --plant.")
    try:
        for name, several in texts.items():
            if several:
                await _put(backend, name, several, out)
        yield
    finally:
        for name in texts:
            for document_id in await _ids(backend, name):
                await backend.delete(document_id)


async def _put(backend: Backend, name: str, texts: Sequence[str], out: Output) -> None:
    from bascule.cli.ingest import tally, watch

    async def items() -> AsyncIterator[SourceItem | SkippedItem]:
        for number, text in enumerate(texts, 1):
            yield SourceItem(
                external_id=f"{name}-{number}",
                name=f"{number}.txt",
                data=text.encode("utf-8", "replace"),
                media_type="text/plain",
            )

    jobs, _ = await backend.take(name, items(), Rights())
    counts = tally(await watch(backend, [job["id"] for job in jobs], out))
    if counts["failed"]:
        out.note(f"{counts['failed']} of {len(texts)} documents of {name!r} could not be read and are not there.")


async def _ids(backend: Backend, name: str) -> list[str]:
    try:
        return [document["id"] for document in await backend.documents(name, _MOST, None)]
    except NotFound:
        return []
