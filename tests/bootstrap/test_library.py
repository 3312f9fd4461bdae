"""The gateway as a library: the same layers, in process, for programs with and without an event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bascule import AsyncGateway, Gateway
from bascule.core.calls import CallRecord
from bascule.core.errors import ConfigError, UpstreamTimeout, UpstreamUnavailable
from bascule.testing.upstream import FakeUpstream, Fault, fake_upstream


@pytest.fixture
def vendor() -> Iterator[FakeUpstream]:
    """A fake vendor in a thread of its own, as a program without an event loop meets one."""
    loop, found, ready = asyncio.new_event_loop(), [], threading.Event()

    async def run(stop: asyncio.Event) -> None:
        async with fake_upstream() as up:
            found.append(up)
            ready.set()
            await stop.wait()

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(run(stop)))
    thread.start()
    assert ready.wait(10)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def recommendation(gateway: Gateway, book: str) -> str | None:
    """The mission's example: cached, timed out, logged, and None when there is no answer."""
    return gateway.ask(f"Recommend one book to a reader of {book}.", timeout_s=5, default=None, max_tokens=60)


def test_a_recommendation_is_cached_logged_and_none_on_failure(
    vendor: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "bascule.calls"), Gateway(vendor.url, models=["small"]) as gateway:
        first = recommendation(gateway, "Emma")
        assert first and recommendation(gateway, "Emma") == first
        assert len(vendor.calls) == 1
        vendor.always = Fault(status=400, raw=b"{}")
        assert recommendation(gateway, "Dune") is None
        vendor.always = Fault(content="   ")
        assert recommendation(gateway, "Ulysses") is None
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
    assert [("cache=MISS" in line, "cache=HIT" in line) for line in lines[:2]] == [(True, False), (False, True)]
    assert "error=upstream_rejected" in lines[2]
    assert not any("Emma" in line for line in lines)


def test_without_a_default_the_error_is_raised_and_the_time_limit_holds(vendor: FakeUpstream) -> None:
    with Gateway(vendor.url, models=["small"]) as gateway:
        vendor.always = Fault(delay_s=30)
        with pytest.raises(UpstreamTimeout):
            gateway.ask("slow", timeout_s=0.2)


def test_identical_questions_of_many_threads_are_one_upstream_call(vendor: FakeUpstream) -> None:
    with Gateway(vendor.url, models=["small"]) as gateway, ThreadPoolExecutor(20) as pool:
        vendor.always = Fault(delay_s=0.2)
        answers = list(pool.map(lambda _: gateway.ask("the same"), range(20)))
    assert len(set(answers)) == 1 and len(vendor.calls) == 1


def test_streams_chats_and_vectors_without_an_event_loop(vendor: FakeUpstream) -> None:
    with Gateway(vendor.url, models=["small"]) as gateway:
        pieces = list(gateway.stream([{"role": "user", "content": "tell"}]))
        assert len(pieces) > 1 and "".join(pieces)
        answer = gateway.chat([{"role": "user", "content": "tell"}], seed=7)
        assert answer["choices"][0]["message"]["content"]
        assert vendor.calls[-1].body["seed"] == 7
        (vector,) = gateway.embed(["one"])
        assert abs(sum(v * v for v in vector) - 1) < 1e-3


def test_a_stream_left_early_stops_the_upstream_call_and_a_cut_one_raises(vendor: FakeUpstream) -> None:
    with Gateway(vendor.url, models=["small"]) as gateway:
        for piece in gateway.stream([{"role": "user", "content": "long"}]):
            assert piece
            break
        vendor.always = Fault(cut_after=2)
        with pytest.raises(UpstreamUnavailable):
            list(gateway.stream([{"role": "user", "content": "cut"}]))


async def test_in_an_event_loop_every_call_leaves_one_record_for_its_own_tenant() -> None:
    records: list[CallRecord] = []
    async with fake_upstream() as up:
        async with AsyncGateway(up.url, models=["small"], on_record=records.append) as gateway:
            assert await gateway.ask("q", tenant="a") == await gateway.ask("q", tenant="a")
            await gateway.ask("q", tenant="b")
            pieces = [piece async for piece in gateway.stream([{"role": "user", "content": "s"}])]
            assert "".join(pieces)
    assert [(r.tenant, r.cache) for r in records] == [
        ("a", "MISS"), ("a", "HIT"), ("b", "MISS"), ("default", "MISS"),
    ]  # fmt: skip


def test_a_gateway_says_what_it_lacks() -> None:
    with pytest.raises(ConfigError, match="at least one model"):
        Gateway("http://127.0.0.1:9/v1")
    with pytest.raises(ConfigError, match="reference"):
        with Gateway("http://127.0.0.1:9/v1", models=["m"], api_key="sk-not-a-reference"):
            pass
    closed = Gateway("http://127.0.0.1:9/v1", models=["m"])
    with pytest.raises(ConfigError, match="with"):
        closed.ask("q")
