"""DNS that answers late, wrongly or not now: told by the deadline, and nobody else is held back."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from bascule.testing.after import CLIENTS, MARGIN_S, no_descriptor_leaked, nothing_leaked, wrongs
from bascule.testing.fault_proxy import HEALTHY
from bascule.testing.fault_world import fault_world
from bascule.testing.gateway import until

DEADLINE_S: Final = 1.5
LATE_CALLERS: Final = 40  # more than there are threads to resolve names in
GONE, TIMEOUT = "upstream_unavailable", "upstream_timeout"


class Resolver:
    """Stands in for the machine's: names under `.test` are resolved as they say, all others as they are."""

    def __init__(self) -> None:
        self.waiting = 0
        self.free = threading.Event()
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, *rest: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if not name.endswith(".test"):
            return self._real(host, *rest, **named)
        if name.startswith("late"):
            self.waiting += 1
            self.free.wait(30)
            self.waiting -= 1
        if name.startswith("again"):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._real("127.0.0.1", 1, type=socket.SOCK_STREAM)  # nobody listens there


@contextmanager
def resolved_by(resolver: Resolver) -> Iterator[Resolver]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolver)
        try:
            yield resolver
        finally:
            resolver.free.set()


@pytest.mark.parametrize("client", CLIENTS)
async def test_F17_names_that_resolve_late_or_wrongly_are_told_in_time_and_hold_nobody_else_back(
    tmp_path: Path, client: str
) -> None:
    names = {"wrong": GONE, "again": GONE, "late": TIMEOUT}
    urls = {name: f"http://{name}.test:9/v1" for name in names}
    async with (
        no_descriptor_leaked(),
        fault_world(tmp_path, {"fast": HEALTHY}, urls=urls, timeout_s=DEADLINE_S, http_client=client) as world,
    ):
        with resolved_by(Resolver()) as resolver:
            async with nothing_leaked(world):
                told = await asyncio.gather(*(world.ask(name, stream=s) for name in names for s in (False, True)))
                assert [said.outcome for said in told] == [names[name] for name in names for _ in range(2)]
                assert [wrongs(said, DEADLINE_S) for said in told] == [[]] * len(told)
                late = [asyncio.create_task(world.ask("late")) for _ in range(LATE_CALLERS)]
                await until(lambda: resolver.waiting)
                others = await asyncio.gather(*(world.ask("fast", stream=n % 2 == 0) for n in range(12)))
                assert {said.outcome for said in others} == {"ok"}, "a name that hangs holds others back"
                assert {said.outcome for said in await asyncio.gather(*late)} == {TIMEOUT}
                resolver.free.set()
                await until(lambda: resolver.waiting == 0, MARGIN_S)
        assert (await world.ask("fast")).outcome == "ok"
