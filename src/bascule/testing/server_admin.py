"""Fakes of what administrators ask a server for: they know nothing of what they are asked about."""

from __future__ import annotations

from typing import Any

from bascule.core.documents import Job
from bascule.core.errors import NotFound
from bascule.core.principals import Principal


class FakeReembed:
    async def start(self, principal: Principal, collection: str, model: str | None) -> Job:
        raise NotFound("There is no such thing, or you may not see it.")


class FakeRoutes:
    async def show(self, principal: Principal, name: str) -> Any:
        raise NotFound("There is no such thing, or you may not see it.")

    async def replace(self, principal: Principal, name: str, settings: Any, enabled: Any) -> Any:
        return await self.show(principal, name)

    async def remove(self, principal: Principal, name: str) -> None:
        await self.show(principal, name)

    def providers(self, principal: Principal) -> list[Any]:
        return []

    async def list(self, principal: Principal) -> Any:
        return []
