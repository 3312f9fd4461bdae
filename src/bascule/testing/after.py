"""What must hold after any fault: an honest answer in time, nothing bad kept, no foreign canary, nothing leaked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Set
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import bascule
from bascule.core.errors import BasculeError
from bascule.core.principals import system_principal
from bascule.testing.fault_proxy import FaultProxy
from bascule.testing.fault_world import CANARY, Said, World
from bascule.testing.running import until

CLIENTS: Final = ("httptools", "aiohttp")  # the upstream clients that everybody has
MARGIN_S: Final = 2.0  # beyond the deadline, for a machine that does other things too
_PACKAGE: Final = str(Path(bascule.__file__).parent)


def documented_codes() -> set[str]:
    """Every error code that the tree of core/errors.py knows."""

    def codes(kind: type[BasculeError]) -> Iterator[str]:
        yield kind.code
        for child in kind.__subclasses__():
            yield from codes(child)

    return set(codes(BasculeError)) - {"internal_error"}


def wrongs(said: Said, deadline_s: float) -> list[str]:
    """(1) a right answer or a documented error, in time; a cut stream ends in an error; (3) no canary but its own."""
    found = []
    if said.took_s > deadline_s + MARGIN_S:
        found.append(f"answered after {said.took_s:.2f} s of {deadline_s}")
    if said.outcome == "ok":
        if f"Say {said.own}" not in said.text:
            found.append(f"a wrong answer: {said.text[:200]!r}")
    elif said.outcome != "empty" and said.error not in documented_codes():
        found.append(f"not a documented error: {said.outcome}")
    foreign = set(CANARY.findall(said.raw.decode("utf-8", "replace"))) - {said.own}
    if foreign:
        found.append(f"foreign canaries: {foreign}")
    return found


async def not_kept(world: World, model: str, said: Said, *, stream: bool, deadline_s: float) -> list[str]:
    """(2) with a well vendor the same call gets the right answer, and not from the cache, unless it had it before."""
    again = await world.ask(model, own=said.own, stream=stream)
    for _ in range(2):  # a busy machine may be late; what was kept wrongly, or is still ill, stays so
        if again.outcome == "upstream_timeout":
            again = await world.ask(model, own=said.own, stream=stream)
    found = wrongs(again, deadline_s)
    if again.outcome != "ok":
        found.append(f"not recovered: {again.outcome}")
    verdict = again.headers.get("x-bascule-cache")
    if (verdict == "HIT") != (said.outcome == "ok"):
        found.append(f"{verdict} after {said.outcome}")
    return found


async def scene(world: World, model: str, expected: Set[str], *, stream: bool, deadline_s: float) -> list[str]:
    """One call while the vendor is ill, which may end as `expected` says, and the same call when it is well again.

    What was wrong, in words.
    """
    said, found = await _while_ill(world, model, expected, stream=stream, deadline_s=deadline_s)
    return found + await not_kept(world, model, said, stream=stream, deadline_s=deadline_s)


async def _while_ill(
    world: World, model: str, expected: Set[str], *, stream: bool, deadline_s: float
) -> tuple[Said, list[str]]:
    proxy = world.proxies[model]
    said = await world.ask(model, stream=stream)
    found = wrongs(said, deadline_s)
    if said.outcome not in expected:
        found.append(f"ended in {said.outcome}, not {sorted(expected)}")
    if said.error:
        found += await _let_go(proxy)
    proxy.heal()
    return said, found


async def _let_go(proxy: FaultProxy) -> list[str]:
    """An ill connection is not kept."""
    with suppress(TimeoutError):
        await until(lambda: proxy.ill == 0, 2)
    return [f"{proxy.ill} ill connections are kept"] if proxy.ill else []


async def scenes(
    world: World, expected: Mapping[str, Set[str]], *, stream: bool, deadline_s: float
) -> dict[str, list[str]]:
    """Every model's scene, side by side; the names of those where something was wrong.

    All are ill first and well again after: a bomb that is unpacked in this process must not make another's recovery late.
    """
    async with nothing_leaked(world):
        ill = [_while_ill(world, name, ends, stream=stream, deadline_s=deadline_s) for name, ends in expected.items()]
        ended = dict(zip(expected, await asyncio.gather(*ill), strict=True))
        well = [not_kept(world, name, said, stream=stream, deadline_s=deadline_s) for name, (said, _) in ended.items()]
        found = {name: ended[name][1] + after for name, after in zip(ended, await asyncio.gather(*well), strict=True)}
    return {name: wrong for name, wrong in found.items() if wrong}


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_bytes() -> int:
    """The memory of this process at this moment."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def our_tasks() -> set[str]:
    """What the product's own tasks run, background work included."""
    found = set()
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        name = code.co_filename if code else ""
        ours = name.startswith(_PACKAGE) and f"{_PACKAGE}/testing" not in name
        if code and (ours or code.co_name == "run_asgi"):
            found.add(f"{code.co_qualname if hasattr(code, 'co_qualname') else code.co_name}#{id(task)}")
    return found


@asynccontextmanager
async def nothing_leaked(world: World) -> AsyncIterator[None]:
    """(4) at exit: no task, no reservation, no shared call left, one record for each call that was answered."""
    tasks = our_tasks()
    yield
    app = world.app
    try:
        await until(lambda: not app.gateway.under_way and not world.held and our_tasks() <= tasks, 3)
    except TimeoutError:
        left = {name.partition("#")[0] for name in our_tasks() - tasks}
        raise AssertionError(
            f"left: {app.gateway.under_way} shared calls, {len(world.held)} reservations, tasks {left}"
        ) from None
    await app.calls.flush()
    records = [record.id for record in await app.catalogue.calls(system_principal("default"), 1_000_000)]
    assert len(records) == len(set(records)), "a call has two records"
    missing = set(world.asked) - set(records)
    assert not missing, f"{len(missing)} calls have no record"


@asynccontextmanager
async def no_descriptor_leaked() -> AsyncIterator[None]:
    """As many descriptors at exit as there were: to be entered before anything is opened."""
    before = open_descriptors()
    yield
    try:
        await until(lambda: open_descriptors() <= before, 3)
    except TimeoutError:
        raise AssertionError(f"{open_descriptors() - before} descriptors are left open") from None
