"""Which model embeds what: the configured one, and those that single collections are embedded with.

Only vectors of one fingerprint may be compared, so a collection is asked with the model that made its vectors, as long as that
is in reach under the name it had. While it is not, the collection is searched by words.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from bascule.core.documents import Collection
from bascule.core.embedding import Embedder
from bascule.core.errors import BasculeError, ConfigError
from bascule.core.generations import EmbeddedBy

log = logging.getLogger(__name__)

RETRY_S: Final = 30.0  # after a model was not in reach

Open = Callable[[str], Awaitable[Embedder]]


class Embedders:
    """`default` is the configured model of the name `name`; `open_model` opens another by its name under [models]."""

    def __init__(self, default: Embedder | None, name: str = "", open_model: Open | None = None) -> None:
        self.default = default
        self.name = name
        self._open = open_model
        self._opened: dict[str, Embedder] = {}
        self._not_before_s: dict[str, float] = {}

    async def named(self, name: str) -> Embedder:
        """Raises ConfigError for a name that is not under [models], UpstreamError when the model is not in reach."""
        if name == self.name and self.default is not None:
            return self.default
        if name not in self._opened:
            if self._open is None:
                raise ConfigError(f"There is no model {name!r} under [models].")
            self._opened[name] = await self._open(name)
        return self._opened[name]

    async def of(self, collection: Collection) -> Embedder | None:
        """The model that the collection's vectors are of; None when it has none, or it is not in reach."""
        if not collection.fingerprint:
            return None
        if self.default is not None and self.default.fingerprint == collection.fingerprint:
            return self.default
        found = await self._try(collection.model)
        return found if found is not None and found.fingerprint == collection.fingerprint else None

    async def needed(self, collection: Collection) -> Embedder | None:
        """As `of`, but raises UpstreamError where it is configured and does not answer just now: what is written without it
        would stay without vectors."""
        found = await self.of(collection)
        if found is not None or not collection.fingerprint or not collection.model:
            return found
        try:
            found = await self.named(collection.model)
        except ConfigError:
            log.info("the collection %s was embedded with a model that is not configured", collection.name)
            return None
        return found if found.fingerprint == collection.fingerprint else None

    async def _try(self, name: str) -> Embedder | None:
        if not name or time.monotonic() < self._not_before_s.get(name, 0.0):
            return None
        try:
            return await self.named(name)
        except BasculeError as error:
            log.warning(
                "the embedding model %r is not in reach (%s): its collections are searched by words", name, error.code
            )
            self._not_before_s[name] = time.monotonic() + RETRY_S
            return None


def by(name: str, embedder: Embedder, *, pinned: bool) -> EmbeddedBy:
    return EmbeddedBy(model=name, fingerprint=embedder.fingerprint, dimension=embedder.dimension, pinned=pinned)
