"""Routes made, changed and removed while the server runs: tried first, then stored, then followed by every server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from bascule.bootstrap.overlay import checked, checked_name, laid_over
from bascule.bootstrap.reload import Reloader
from bascule.core.errors import ConfigError, Conflict, InvalidRequest, NotFound, ScopeMissing, StorageError
from bascule.core.principals import SCOPE_ADMIN, Principal
from bascule.core.routes import StoredRoute, StoredRoutes

log = logging.getLogger(__name__)

FOLLOW_EVERY_S: Final = 0.5


class RouteView(msgspec.Struct, frozen=True, kw_only=True):
    """`origin`: `file` for the configuration's own, which are changed there. `problem`: why a route cannot be used, else ""."""

    name: str
    origin: str
    enabled: bool
    settings: Mapping[str, Any]
    problem: str = ""
    created_at: str = ""
    updated_at: str = ""


class ProviderView(msgspec.Struct, frozen=True, kw_only=True):
    """What a route's targets may name. Addresses and credentials stay in the file."""

    name: str
    kind: str


class RouteAdmin:
    """Every method raises ScopeMissing for who is no administrator of the operator's tenant."""

    def __init__(self, stored: StoredRoutes, reloader: Reloader) -> None:
        self._stored = stored
        self._reloader = reloader
        self._turn = asyncio.Lock()

    async def list(self, principal: Principal) -> list[RouteView]:
        """By name."""
        self._needs_operator(principal)
        file, stored = self._reloader.file, await self._stored.stored_routes()
        _, problems = laid_over(file, stored)
        found = [
            RouteView(
                name=name,
                origin="file",
                enabled=True,
                settings=model.model_dump(mode="json", exclude_defaults=True),
            )
            for name, model in file.models.items()
        ]
        found += [_view(route, problems) for route in stored]
        return sorted(found, key=lambda view: (view.name, view.origin))

    def providers(self, principal: Principal) -> Sequence[ProviderView]:
        self._needs_operator(principal)
        given = self._reloader.file.providers
        return [ProviderView(name=name, kind=given[name].kind) for name in sorted(given)]

    async def show(self, principal: Principal, name: str) -> RouteView:
        """Raises NotFound."""
        for view in await self.list(principal):
            if view.name == name:
                return view
        raise NotFound("There is no such route.")

    async def create(
        self, principal: Principal, name: str, settings: Mapping[str, Any], enabled: bool = True
    ) -> RouteView:
        """Callers may use it when this returns, at other servers within a second.
        Raises InvalidRequest naming the field, Conflict when there is a model of this name."""
        self._needs_operator(principal)
        route = StoredRoute(name=checked_name(name), settings=self._normal(settings), enabled=enabled)

        def change(stored: Sequence[StoredRoute]) -> Sequence[StoredRoute]:
            if name in self._reloader.reserved():
                raise Conflict(f"The model {name!r} is the configuration file's.")
            if any(other.name == name for other in stored):
                raise Conflict(f"There is a route {name!r} already. Change that one.")
            return [*stored, route]

        await self._carry_out(change, lambda: self._stored.add_route(principal, route))
        return await self.show(principal, name)

    async def replace(
        self, principal: Principal, name: str, settings: Mapping[str, Any] | None, enabled: bool | None
    ) -> RouteView:
        """Settings not given stay as they are. Calls under way end by the old ones.
        Raises InvalidRequest, NotFound, Conflict for a model of the file's and where another route needs this one."""
        self._needs_operator(principal)
        was = await self._mine(name)
        route = StoredRoute(
            name=name,
            settings=was.settings if settings is None else self._normal(settings),
            enabled=was.enabled if enabled is None else enabled,
        )
        await self._carry_out(
            lambda stored: [route if other.name == name else other for other in stored],
            lambda: self._stored.replace_route(principal, route),
        )
        return await self.show(principal, name)

    async def remove(self, principal: Principal, name: str) -> None:
        """Raises as `replace`."""
        self._needs_operator(principal)
        await self._mine(name)
        await self._carry_out(
            lambda stored: [other for other in stored if other.name != name],
            lambda: self._stored.remove_route(principal, name),
        )

    def _needs_operator(self, principal: Principal) -> None:
        tenant = self._reloader.file.server.operator_tenant
        if principal.system or (principal.can(SCOPE_ADMIN) and principal.tenant == tenant):
            return
        raise ScopeMissing(f"Routes are for administrators of the operator's tenant, {tenant!r}.")

    def _normal(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """As stored: only what differs from the defaults, so that later defaults hold."""
        return checked(self._reloader.file, settings).model_dump(mode="json", exclude_defaults=True)

    async def _mine(self, name: str) -> StoredRoute:
        for route in await self._stored.stored_routes():
            if route.name == name:
                return route
        if name in self._reloader.reserved():
            raise Conflict(f"The model {name!r} is the configuration file's. Change it there.")
        raise NotFound("There is no such route.")

    async def _carry_out(
        self,
        change: Callable[[Sequence[StoredRoute]], Sequence[StoredRoute]],
        store: Callable[[], Awaitable[object]],
    ) -> None:
        async with self._turn:
            before = await self._stored.stored_routes()
            after = change(before)
            self._refuse_harm(before, after)
            try:
                await self._reloader.refresh(after)
            except ConfigError as error:
                raise InvalidRequest(error.message) from None
            try:
                await store()
            except BaseException:
                await self._reloader.refresh(before)
                raise

    def _refuse_harm(self, before: Sequence[StoredRoute], after: Sequence[StoredRoute]) -> None:
        """A change must not take from another route what it stands on."""
        file = self._reloader.file
        old, new = laid_over(file, before)[1], laid_over(file, after)[1]
        changed = {route.name for route in after if route.enabled and route not in before}
        for name, problem in new.items():
            if name in changed:
                raise InvalidRequest(problem, param="settings")
            if name not in old and any(route.name == name and route.enabled for route in after):
                raise Conflict(f"The route {name!r} needs this one. Change that first.")

    async def follow(self, mark: str) -> None:
        """Take what other servers store, until cancelled. `mark`: as of the routes that are known."""
        while True:
            await asyncio.sleep(FOLLOW_EVERY_S)
            try:
                now = await self._stored.routes_mark()
                if now != mark:
                    async with self._turn:
                        await self._reloader.refresh()
                    mark = now
            except StorageError as error:
                log.warning("routes could not be refreshed: %s", error.message)
            except ConfigError as error:
                log.error("changed routes are not taken: %s", error.message)
                mark = now


def _view(route: StoredRoute, problems: Mapping[str, str]) -> RouteView:
    return RouteView(
        name=route.name,
        origin="api",
        enabled=route.enabled,
        settings=route.settings,
        problem=problems.get(route.name, ""),
        created_at=route.created_at,
        updated_at=route.updated_at,
    )
