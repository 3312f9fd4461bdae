"""A vendor that limits or fails for a while: Retry-After in every spelling, bounded extra load, the breaker and its probe."""

from __future__ import annotations

import asyncio
import functools
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from bascule.core.errors import BasculeError, UpstreamUnavailable
from bascule.gateway import deployments
from bascule.gateway.breaker import Breaker
from bascule.gateway.routes import Options
from bascule.testing.after import no_descriptor_leaked, not_kept, nothing_leaked, wrongs
from bascule.testing.fault_proxy import Plan, canned, fault_proxy, http_answer
from bascule.testing.fault_world import fault_world
from bascule.testing.gateway import bench, call, http_client, openai_provider, request
from bascule.testing.upstream import fake_upstream

DEADLINE_S = 2.0
DAY_S = 86_400
BUSY = b'{"error":{"message":"slow down","type":"rate_limit","param":null,"code":null}}'
FLOOR = 3  # retries that are allowed at once, however few calls there are


def limited(*retry_after: str) -> Plan:
    headers = ["connection: close", *(f"retry-after: {value}" for value in retry_after)]
    return canned(http_answer(BUSY, status="429 Too Many", headers=headers))


def failing() -> Plan:
    return canned(http_answer(b"{}", status="500 Internal Server Error", headers=["connection: close"]))


# name: (Retry-After, the least and the most that a caller is told; None when it is told nothing)
WAITS: dict[str, tuple[tuple[str, ...], tuple[int, int] | None]] = {
    "seconds": (("7",), (7, 7)),
    "a fraction": (("6.2",), (7, 7)),
    "a date": ((formatdate(time.time() + 60, usegmt=True),), (1, 60)),
    "a date gone by": (("Sun, 06 Nov 1994 08:49:37 GMT",), (1, 1)),
    "year 9999": (("Fri, 31 Dec 9999 23:59:59 GMT",), (DAY_S, DAY_S)),
    "absent": ((), None),
    "negative": (("-30",), (1, 1)),
    "a trillion": (("1e12",), (DAY_S, DAY_S)),
    "endless": (("inf",), (DAY_S, DAY_S)),
    "no number": (("nan",), None),
    "garbage": (("soon, I hope",), None),
    "an impossible date": (("Fri, 99 Foo 20000 99:99:99 GMT",), None),
    "empty": (("",), None),
    "long": (("9" * 5_000,), (DAY_S, DAY_S)),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_retry_after_is_passed_on_within_reason_in_every_spelling(tmp_path: Path, stream: bool) -> None:
    plans = {name: limited(*given) for name, (given, _) in WAITS.items()}
    async with no_descriptor_leaked(), fault_world(tmp_path, plans, timeout_s=DEADLINE_S) as world:
        async with nothing_leaked(world):
            told = dict(zip(WAITS, await asyncio.gather(*(world.ask(n, stream=stream) for n in WAITS)), strict=True))
            for name, (_, allowed) in WAITS.items():
                said = told[name]
                assert wrongs(said, DEADLINE_S) == [], name
                assert (said.status, said.error) == (429, "upstream_rate_limited"), name
                wait_s = said.retryable_in_s
                assert wait_s is None if allowed is None else allowed[0] <= (wait_s or 0) <= allowed[1], (name, wait_s)
                world.proxies[name].heal()
                assert await not_kept(world, name, said, stream=stream, deadline_s=DEADLINE_S) == [], name


async def test_a_storm_of_refusals_adds_at_most_a_tenth_to_the_load(tmp_path: Path) -> None:
    async with fault_world(tmp_path, {"fast": limited("0")}, timeout_s=10) as world:
        async with nothing_leaked(world):
            told = []
            for _ in range(10):
                told += await asyncio.gather(*(world.ask("fast") for _ in range(20)))
            assert {said.error for said in told} == {"upstream_rate_limited"}
            assert [wrong for said in told for wrong in wrongs(said, 10)] == []
            assert 200 < world.proxies["fast"].accepted <= 200 * 1.1 + FLOOR
            world.proxies["fast"].heal()
            assert (await world.ask("fast")).outcome == "ok"


async def test_a_vendor_that_fails_is_left_alone_until_one_probe_finds_it_well() -> None:
    async with fake_upstream() as upstream, fault_proxy(upstream.url, failing()) as proxy, http_client() as http:
        b = bench(openai_provider(proxy.url, http), options=Options(breaker_failures=5, breaker_open_s=0.3))

        async def errors(count: int) -> list[str]:
            found = []
            for number in range(count):
                with pytest.raises(UpstreamUnavailable) as caught:
                    await b.gateway.chat(request(f"q{number}"), call(timeout_s=2))
                found.append(caught.value.code)
            return found

        await errors(5)
        asked = proxy.accepted
        assert asked <= 5 + FLOOR + 1
        await errors(50)
        assert proxy.accepted == asked, "an open breaker asked the vendor"
        await asyncio.sleep(0.35)  # the breaker's own time, measured by its own clock
        await errors(1)
        assert asked < proxy.accepted <= asked + Options().max_attempts, "half-open: one call probes"
        proxy.heal()
        await asyncio.sleep(0.35)
        answers = await asyncio.gather(
            *(b.gateway.chat(request(f"w{n}"), call()) for n in range(3)), return_exceptions=True
        )
        assert sum(not isinstance(answer, Exception) for answer in answers) >= 1
        assert (await b.gateway.chat(request("again"), call())).text.endswith("again")


class Minutes:
    """The breaker's clock, set by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


async def test_F6_a_vendor_that_fails_for_a_minute_is_hardly_asked_and_found_well_soon_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Minutes()
    monkeypatch.setattr(deployments, "Breaker", functools.partial(Breaker, clock=clock))
    async with fake_upstream() as upstream, fault_proxy(upstream.url, failing()) as proxy, http_client() as http:
        b = bench(openai_provider(proxy.url, http))

        async def told(second: int) -> list[str]:
            """Four callers in this second: "ok" or the code of what each was told."""
            asked = (b.gateway.chat(request(f"{second}/{n}"), call(timeout_s=5)) for n in range(4))
            found = await asyncio.gather(*asked, return_exceptions=True)
            return [one.code if isinstance(one, BasculeError) else "ok" for one in found]

        for second in range(60):
            assert set(await told(second)) == {"upstream_unavailable"}, second
            clock.now_s += 1
        probes = 60 / Options().breaker_open_s
        assert proxy.accepted <= Options().breaker_failures + 4 + FLOOR + probes, "240 calls were made"
        proxy.heal()
        well = [await told(60 + second) for second in range(20) if not setattr(clock, "now_s", clock.now_s + 1)]
        late = [second for second, codes in enumerate(well) if set(codes) != {"ok"}]
        assert len(late) <= Options().breaker_open_s + 1, "well again for longer than the breaker rests"
        assert set(well[-1]) == {"ok"}
