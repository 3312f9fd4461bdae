"""Wrong keys are refused ever more slowly, right keys never; memory stays bounded."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from bascule.core.errors import LimitExceeded
from bascule.server import wrong_keys
from bascule.server.wrong_keys import FREE, WINDOW_S, WrongKeys, network
from bascule.testing.server import CHATTER, FakeApp, serving, until


def test_the_first_are_refused_at_once_and_then_each_waits_longer_up_to_a_limit():
    now = [0.0]
    slow = WrongKeys(clock=lambda: now[0])
    delays = [slow.count("a") for _ in range(FREE + 40)]
    assert delays[:FREE] == [0.0] * FREE
    assert delays[FREE : FREE + 4] == [0.05, 0.1, 0.2, 0.4] and delays[-1] == 2.0
    assert slow.count("b") == 0.0
    now[0] = WINDOW_S + 1
    assert slow.count("a") == 0.0


def test_a_hundred_thousand_addresses_are_not_remembered():
    slow = WrongKeys(addresses=100)
    for number in range(100_000):
        slow.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert slow.known() == (100, 0)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_addresses_of_one_customer_count_together(address, place):
    assert network(address) == place


async def test_only_so_many_refusals_wait_and_none_is_left_behind():
    slow = WrongKeys()
    for _ in range(FREE + 10):
        slow.count("a")
    waiting = [asyncio.create_task(slow.hold("a")) for _ in range(wrong_keys.WAITING_EACH)]
    await until(lambda: slow.known()[1] == wrong_keys.WAITING_EACH, 5)
    with pytest.raises(LimitExceeded) as refused:
        await slow.hold("a")
    assert refused.value.retry_after_s == 2.0
    await slow.hold("b")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert slow.known()[1] == 0


async def test_over_http_a_right_key_is_answered_while_wrong_ones_of_its_address_wait():
    app = FakeApp()
    async with serving(app) as (url, application), aiohttp.ClientSession(url) as http:

        async def ask(key: str) -> int:
            async with http.get("/v1/models", headers={"x-api-key": key} if key else {}) as reply:
                return reply.status

        assert {await ask("bsk_wrong") for _ in range(FREE)} == {401}
        for _ in range(10):
            application._wrong_keys.count("127.0.0.1")
        wrong = [asyncio.create_task(ask(f"bsk_{number}")) for number in range(wrong_keys.WAITING_EACH + 3)]
        await until(lambda: application._wrong_keys.known()[1] == wrong_keys.WAITING_EACH, 10)
        assert {await ask(CHATTER) for _ in range(20)} == {200}
        assert await ask("") == 401  # none at all is no guess
        assert not all(task.done() for task in wrong)
        statuses = await asyncio.gather(*wrong)
        assert sorted(statuses) == [401] * wrong_keys.WAITING_EACH + [429] * 3
