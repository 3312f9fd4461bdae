"""Identical work runs once, also over several servers that share a state store (law 5): the one that is granted the lease of a
call's key makes the call, the others wait until its answer is in the cache.

After Gray and Cheriton, "Leases" (1989); the fencing token after Kleppmann, "How to do distributed locking" (2016). Nothing that
is right depends on it: where two servers lead all the same, the model is called twice, and the later leader's answer is kept.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import msgspec

from bascule.core.calls import Call
from bascule.core.errors import StorageError, UpstreamTimeout
from bascule.core.state import Lease, StateStore
from bascule.gateway.alarm import Alarm
from bascule.gateway.kept import Kept, unpack
from bascule.gateway.metrics import SHARED

log = logging.getLogger(__name__)

ANSWERED_REASON: Final = "answered by another server"
ALONE: Final = "shared_calls_alone"  # the shared store is away: each server makes its own call
# A server that was killed is missed after this long. Renewed three times as often, so that one late answer loses nothing.
LEASE_S: Final = 3.0
DONE_S: Final = 5.0  # whoever waits asks far more often
FIRST_WAIT_S: Final = 0.01
LONGEST_WAIT_S: Final = 0.1
RELEASE_S: Final = 1.0


class _Held:
    """A lease of ours. `ended` tells its keeper that the work has ended, and whether well."""

    __slots__ = ("ended", "keeper")

    def __init__(self) -> None:
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.keeper: asyncio.Task[None]


class Replicas:
    """`pause` waits between two looks at what another server does."""

    __slots__ = ("_held", "_lease_s", "_max_entry_bytes", "_pause", "_state", "_tasks")

    def __init__(
        self,
        state: StateStore,
        max_entry_bytes: int,
        *,
        lease_s: float = LEASE_S,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._state = state
        self._max_entry_bytes = max_entry_bytes
        self._lease_s = lease_s
        self._pause = pause
        self._held: dict[tuple[str, int], _Held] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def lead(self, call: Call, decoder: msgspec.msgpack.Decoder[Kept]) -> Kept | None:
        """The answer that another server made meanwhile, with the call's verdict set; None: make it here.

        The lease, where there is one, is then `call.fence`, kept alive until `end`. Raises UpstreamTimeout at the deadline.
        """
        try:
            with Alarm(call.deadline.left_s()):
                return await self._lead(call, decoder)
        except TimeoutError:
            raise UpstreamTimeout("The model did not answer another server within the deadline.") from None
        except StorageError:
            call.degraded.append(ALONE)
            return None

    def end(self, call: Call, *, well: bool) -> None:
        """The call has ended, and what is kept of it is kept: whoever waits may go on. Does not wait for the store."""
        held = self._held.pop((call.shared_key, call.fence), None)
        if held is not None:
            held.ended.set_result(well)

    async def aclose(self) -> None:
        """Every lease is given back, as far as the store answers in time."""
        for held in self._held.values():
            held.ended.set_result(False)
        self._held.clear()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=RELEASE_S)
            for task in late:
                task.cancel()

    # ------------------------------------------------------------ waiting

    async def _lead(self, call: Call, decoder: msgspec.msgpack.Decoder[Kept]) -> Kept | None:
        wait_s, waited = FIRST_WAIT_S, False
        while (lease := await self._ask(call)).state == "held":
            waited = True
            await self._pause(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(LONGEST_WAIT_S, 2.0 * wait_s)
        if lease.state == "mine":
            self._hold(call, lease.token)
            if not waited:
                return None
        # Also with the lease: whoever had it may have kept its answer and then died.
        entry = await self._look(call, decoder)
        if entry is not None:
            SHARED.inc()
            call.cache, call.cache_reason, call.cost_usd = "HIT", ANSWERED_REASON, 0.0
            call.age_s = max(0.0, time.time() - entry.stored_at_s)
        return entry

    async def _ask(self, call: Call) -> Lease:
        """A caller who leaves while the store is asked must not be granted what nobody then gives back."""
        asking = asyncio.ensure_future(self._state.lease(call.shared_key, self._lease_s, call.elapsed_s))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            self._spawn(self._give_back(call.shared_key, asking))
            raise

    async def _look(self, call: Call, decoder: msgspec.msgpack.Decoder[Kept]) -> Kept | None:
        value = await self._state.get(call.shared_key)
        entry = None if value is None else unpack(value, decoder, self._max_entry_bytes)
        if entry is None:
            return None
        age_s, wishes = time.time() - entry.stored_at_s, call.directives
        # What was stored since this call began is as young as anybody can wish.
        longest_s = (
            entry.fresh_s if wishes is None or wishes.max_age_s is None else max(wishes.max_age_s, call.elapsed_s)
        )
        return entry if age_s <= min(longest_s, entry.fresh_s) else None

    # ------------------------------------------------------------ leading

    def _hold(self, call: Call, token: int) -> None:
        call.fence = token
        held = self._held[call.shared_key, token] = _Held()
        held.keeper = self._spawn(self._keep(call.shared_key, token, held))

    async def _keep(self, key: str, token: int, held: _Held) -> None:
        """Renew the lease until the work has ended, then release it. A lease that was lost stays lost: what was done under it is
        given to those who wait here, and not kept over a later leader's."""
        while True:
            await asyncio.wait((held.ended,), timeout=self._lease_s / 3)
            if held.ended.done():
                break
            with suppress(StorageError):  # it may be back before the lease has ended
                if not await self._state.renew(key, token, self._lease_s):
                    log.warning(
                        "a call took longer than its lease could be renewed; another server may have made it too"
                    )
                    return
        await self._release(key, token, DONE_S if held.ended.result() else 0.0)

    async def _give_back(self, key: str, asking: asyncio.Future[Lease]) -> None:
        with suppress(StorageError):
            lease = await asking
            if lease.state == "mine":
                await self._release(key, lease.token, 0.0)

    async def _release(self, key: str, token: int, done_s: float) -> None:
        with suppress(StorageError, TimeoutError):
            async with asyncio.timeout(RELEASE_S):
                await self._state.release(key, token, done_s)

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
