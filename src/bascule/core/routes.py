"""Routes that an administrator made while the server runs: what the configuration file says of a model, kept in the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from bascule.core.principals import Principal


class StoredRoute(msgspec.Struct, frozen=True, kw_only=True):
    """`settings`: what the file has under [models.NAME], as plain JSON. A route that is not enabled is not there for callers."""

    name: str
    settings: Mapping[str, Any]
    enabled: bool = True
    created_at: str = ""
    updated_at: str = ""


class StoredRoutes(Protocol):
    """Every change is in the audit log and moves the mark, in one transaction. Raises ScopeMissing without admin."""

    async def stored_routes(self) -> list[StoredRoute]:
        """All, by name."""
        ...

    async def routes_mark(self) -> str:
        """Another one after every change: what servers look at to follow each other."""
        ...

    async def add_route(self, principal: Principal, route: StoredRoute) -> StoredRoute:
        """Raises Conflict when there is one of this name."""
        ...

    async def replace_route(self, principal: Principal, route: StoredRoute) -> StoredRoute:
        """Raises NotFound."""
        ...

    async def remove_route(self, principal: Principal, name: str) -> None:
        """Raises NotFound."""
        ...
