"""The state store on a Valkey or Redis server, shared by any number of Bascule processes."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Literal, cast

import msgspec
from valkey.asyncio.connection import AbstractConnection

from bascule.core.errors import StorageError
from bascule.core.state import Admission, Claim, Lease
from bascule.plugins.state_stores._counters import SLOT_RETRY_S
from bascule.plugins.state_stores.valkey.alone import ID as ALONE
from bascule.plugins.state_stores.valkey.alone import Alone
from bascule.plugins.state_stores.valkey.feed import Feed
from bascule.plugins.state_stores.valkey.line import Lost
from bascule.plugins.state_stores.valkey.link import COUNTERS, ENTRIES, Link
from bascule.plugins.state_stores.valkey.near import Near

KEPT_S: Final = 900.0  # purges and tokens are remembered longer than any call takes
PURGE_BATCH: Final = 1_000  # a few milliseconds of the server's time
MAX_LATE: Final = 10_000
_ADMITTED: Final = Admission(True)
_tags: Final = msgspec.msgpack.Decoder(list[str] | dict[str, str])


class ValkeyState:
    """Every method is one script of the server, by the server's clock; `clock` (seconds since 1970) takes its place in tests.

    get     From this process's memory where it has been seen, else one round trip. What another process has purged, deleted or
            replaced is given for as long as its message travels (about a millisecond), and for at most `feed.CERTAIN_S`, 1 s,
            when the network swallows the message.
    put     Nothing larger than `max_entry_bytes` is kept, and nothing whose work began before the server was last flushed or
            restarted: which purges there were is not known then.
    admit, reserve   When the server is away: decided alone, `degraded`, by `limit / replicas`.
    settle  Is waited for: who has seen the end of an answer finds its slot free on every server. What could not be settled is
            sent when the server is back, and raises StorageError.
    lease   Tokens are at least the server's time in microseconds, so that they grow also over a flush.

    All other methods raise StorageError while the server is away: at once, without waiting for it.
    """

    shared = True

    def __init__(
        self,
        make: Callable[[], AbstractConnection],
        *,
        prefix: str = "bascule",
        timeout_s: float = 0.25,
        replicas: int = 2,
        max_bytes: int = 64_000_000,
        max_entry_bytes: int = 8_000_000,
        clock: Callable[[], float] | None = None,
    ) -> None:
        base = f"{{{prefix}}}:"
        self._max_entry_bytes = max_entry_bytes
        self._stamp = (lambda: f"{clock() * 1e6:.0f}") if clock else (lambda: "")
        self._clock = clock or time.monotonic
        self._near = Near(max_bytes, self._clock)
        self._feed = Feed(make, f"{base}gone".encode(), self._near) if max_bytes else None
        self._listener: asyncio.Task[None] | None = None
        self._link = Link(make, base, timeout_s, self._stamp, on_back=self._catch_up, on_new_memory=self._near.clear)
        self._alone = Alone(replicas, self._clock, clock or time.time)
        self._ids = (f"{nonce}-{n}" for nonce in [os.urandom(8).hex()] for n in itertools.count(1))
        self._late: deque[tuple[str, Sequence[float]]] = deque(maxlen=MAX_LATE)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def up(self) -> bool:
        """The server is there, as far as is known."""
        return self._link.up

    @property
    def near(self) -> Near:
        return self._near

    async def open(self) -> None:
        """Raises ResponseError and AuthenticationError of the library when the server refuses us."""
        await self._link.start()
        if self._feed is not None:
            self._listener = asyncio.create_task(self._feed.run())

    async def aclose(self) -> None:
        tasks = [*self._tasks, *([self._listener] if self._listener else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._link.aclose()

    # ------------------------------------------------------------ entries

    async def get(self, key: str) -> bytes | None:
        value = self._near.get(key)
        if value is not None:
            return value
        changes, asked_s = self._near.changes, self._clock()
        found = await self._link.run(ENTRIES, "get", key)
        if found is None:
            return None
        value = cast(bytes, found[0])
        self._near.keep(key, value, _unpack_tags(found[2]), asked_s + int(found[1]) / 1e6, changes)
        return value

    async def put(
        self, key: str, value: bytes, ttl_s: float, tags: Sequence[str] = (), age_s: float = 0.0, fence: int = 0
    ) -> None:
        self._near.remove(key)
        ttl_us = _us(ttl_s) if len(value) <= self._max_entry_bytes else 0
        kept = value if ttl_us > 0 else b""
        earliest = self._link.earliest_us(age_s)
        await self._link.run(ENTRIES, "put", key, kept, ttl_us, _us(age_s), fence, earliest, *tags)

    async def delete(self, key: str) -> None:
        self._near.remove(key)
        await self._link.run(ENTRIES, "delete", key)
        self._near.remove(key)

    async def purge(self, tag: str) -> int:
        """In steps of PURGE_BATCH entries; from the first step on nothing of before is kept any more."""
        self._near.purge(tag)
        removed, left = 0, 1
        while left:
            some, left = await self._link.run(ENTRIES, "purge", tag, _us(KEPT_S), PURGE_BATCH)
            removed += some
        self._near.purge(tag)
        return removed

    # ------------------------------------------------------------ rates and reservations

    async def admit(self, key: str, limit: float, window_s: float, amount: float = 1.0) -> Admission:
        try:
            wait_us = await self._link.run(COUNTERS, "admit", key, repr(limit), _us(window_s), repr(amount))
        except StorageError:
            return self._alone.admit(key, limit, window_s, amount)
        return Admission(False, wait_us / 1e6, key) if wait_us else _ADMITTED

    async def reserve(self, claims: Sequence[Claim], lease_s: float) -> tuple[str, Admission]:
        reservation_id = next(self._ids)
        arguments: list[str | int] = [reservation_id, _us(lease_s)]
        for claim in claims:
            arguments += (claim.key, repr(claim.amount), repr(claim.limit), _us(claim.window_s), claim.kind)
        try:
            answer = await self._link.run(COUNTERS, "reserve", *arguments)
        except StorageError:
            self._late.append((reservation_id, [0.0] * len(claims)))  # it may have been carried out all the same
            return self._alone.reserve(claims, lease_s)
        except asyncio.CancelledError:
            self._give_back(reservation_id, len(claims))
            raise
        if not answer[0]:
            return reservation_id, _ADMITTED
        wait_us = int(answer[1])
        wait_s = max(0.001, wait_us / 1e6) if wait_us >= 0 else SLOT_RETRY_S
        return "", Admission(False, wait_s, claims[int(answer[0]) - 1].name)

    async def settle(self, reservation_id: str, amounts: Sequence[float]) -> None:
        if not reservation_id:
            return
        if reservation_id.startswith(ALONE):
            self._alone.settle(reservation_id, amounts)
            if self._link.up:
                await self._charge()
            return
        try:
            await self._link.run(COUNTERS, "settle", reservation_id, *map(repr, amounts))
        except StorageError:
            self._late.append((reservation_id, amounts))
            raise

    def _give_back(self, reservation_id: str, count: int) -> None:
        """Its caller left while it was on its way: the server carries this out after it."""
        try:
            future = self._link.send(COUNTERS, "settle", reservation_id, *["0"] * count)
        except StorageError:
            return
        future.add_done_callback(_unheard)

    def _catch_up(self) -> None:
        """The server is there again: tell it what it missed."""
        task = asyncio.get_running_loop().create_task(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self) -> None:
        try:
            while self._late:
                reservation_id, amounts = self._late[0]
                await self._link.run(COUNTERS, "settle", reservation_id, *map(repr, amounts))
                self._late.popleft()
            await self._charge()
        except StorageError:
            return  # the next time

    async def _charge(self) -> None:
        """Told once: not again when the answer is lost, as it may have been carried out."""
        owed = self._alone.owed()
        arguments: list[str] = []
        for key, ends_s, amount in owed:
            arguments += (key, str(_us(ends_s)), repr(amount))
        try:
            if owed:
                await self._link.run(COUNTERS, "charge", *arguments)
        except StorageError as error:
            if not isinstance(error.__cause__, Lost):  # refused, or never sent
                for key, ends_s, amount in owed:
                    self._alone.owe((key, ends_s), amount)

    # ------------------------------------------------------------ leases

    async def lease(self, key: str, ttl_s: float, age_s: float = 0.0) -> Lease:
        state, token = await self._link.run(COUNTERS, "lease", key, _us(ttl_s), _us(age_s), _us(KEPT_S))
        return Lease(cast(Literal["mine", "held", "done"], state.decode()), int(token))

    async def renew(self, key: str, token: int, ttl_s: float) -> bool:
        return bool(await self._link.run(COUNTERS, "renew", key, token, _us(ttl_s), _us(KEPT_S)))

    async def release(self, key: str, token: int, done_s: float = 0.0) -> None:
        await self._link.run(COUNTERS, "release", key, token, _us(done_s), _us(KEPT_S))


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _unpack_tags(packed: bytes) -> Sequence[str]:
    """As Lua packs them: an empty table may be a map."""
    found = _tags.decode(packed)
    return found if isinstance(found, list) else ()


def _unheard(future: asyncio.Future[object]) -> None:
    if not future.cancelled():
        future.exception()
