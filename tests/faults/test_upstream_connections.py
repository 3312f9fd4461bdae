"""The vendor's connection fails in every way there is, over real sockets: each caller is told honestly, and in time."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from bascule.testing.after import CLIENTS, no_descriptor_leaked, not_kept, nothing_leaked, scenes, wrongs
from bascule.testing.fault_proxy import HEALTHY, Plan, full_backlog, http_answer, self_signed_server
from bascule.testing.fault_world import fault_world

DEADLINE_S = 3.0
OK = "ok"
TIMEOUT = "upstream_timeout"
GONE = "upstream_unavailable"
HEAD = b"\r\n\r\n"

# model: (what happens, what a whole answer ends in, what a stream ends in)
CONNECTIONS: dict[str, tuple[Plan, str, str]] = {
    "late": (Plan(latency_s=0.3), OK, OK),
    "silent": (Plan(silent=True), TIMEOUT, TIMEOUT),
    "too_late": (Plan(latency_s=30), TIMEOUT, TIMEOUT),
    "half_open_after_headers": (Plan(fault="stall", at=HEAD), TIMEOUT, TIMEOUT),
    "half_open_in_headers": (Plan(fault="stall", at=20), TIMEOUT, TIMEOUT),
    "half_open_in_body": (Plan(fault="stall", at=b'"content": "'), TIMEOUT, TIMEOUT),
    "drips_headers": (Plan(fault="drip", at=3, drip_s=10), TIMEOUT, TIMEOUT),
    "drips_body": (Plan(fault="drip", at=b'"content": "', drip_s=0.05), TIMEOUT, TIMEOUT),
    "reset_at_once": (Plan(fault="reset", at=0), GONE, GONE),
    "reset_in_headers": (Plan(fault="reset", at=20), GONE, GONE),
    "reset_after_headers": (Plan(fault="reset", at=HEAD), GONE, GONE),
    "reset_in_body": (Plan(fault="reset", at=b'"content": "'), GONE, GONE),
    "cut_at_once": (Plan(fault="cut", at=0), GONE, GONE),
    "cut_in_headers": (Plan(fault="cut", at=20), GONE, GONE),
    "cut_after_headers": (Plan(fault="cut", at=HEAD), GONE, GONE),
    "cut_in_body": (Plan(fault="cut", at=b'"content": "'), GONE, GONE),
    "bytes_one_by_one": (Plan(slice_bytes=1), OK, OK),
    "pieces_of_seven": (Plan(slice_bytes=7), OK, OK),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_failing_connection_is_told_in_time_and_nothing_of_it_stays(
    tmp_path: Path, stream: bool, client: str
) -> None:
    plans = {name: plan for name, (plan, _, _) in CONNECTIONS.items()}
    expected = {name: {ends[stream]} for name, (_, *ends) in CONNECTIONS.items()}
    async with (
        no_descriptor_leaked(),
        fault_world(tmp_path, plans, timeout_s=DEADLINE_S, max_attempts=2, http_client=client) as world,
    ):
        assert await scenes(world, expected, stream=stream, deadline_s=DEADLINE_S) == {}


@pytest.mark.parametrize("client", CLIENTS)
async def test_bytes_nobody_asked_for_end_their_connection_and_never_reach_the_next_caller(
    tmp_path: Path, client: str
) -> None:
    def too_much(request: bytes) -> list[bytes]:
        said = json.loads(request)["messages"][-1]["content"]
        choice = {"index": 0, "message": {"content": said}, "finish_reason": "stop"}
        whole = http_answer(json.dumps({"choices": [choice]}).encode())
        return [whole + b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"]

    plans = {"fast": Plan(answer=too_much, fault="stall", at=b"500\r\n\r\n")}
    async with fault_world(tmp_path, plans, timeout_s=DEADLINE_S, max_attempts=1, http_client=client) as world:
        proxy = world.proxies["fast"]
        first = await world.ask("fast")
        proxy.heal()
        second = await world.ask("fast")
        assert (first.outcome, second.outcome) == (OK, OK)
        assert wrongs(first, DEADLINE_S) == wrongs(second, DEADLINE_S) == []
        assert (proxy.accepted, proxy.ill) == (2, 0)


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_vendor_that_cannot_be_connected_to_is_told_in_time(tmp_path: Path, client: str) -> None:
    async with no_descriptor_leaked(), full_backlog() as full, self_signed_server(tmp_path) as tls:
        urls = {
            "full": (full, TIMEOUT),
            "refuses": ("http://127.0.0.1:1/v1", GONE),
            "has_no_name": ("http://no-such-host.invalid/v1", GONE),
            "self_signed": (tls, GONE),
            "speaks_no_tls": (full.replace("http:", "https:"), TIMEOUT),
        }
        async with fault_world(
            tmp_path / "data", {}, urls={n: u for n, (u, _) in urls.items()}, timeout_s=DEADLINE_S, http_client=client
        ) as world:
            async with nothing_leaked(world):
                for stream in (False, True):
                    told = await asyncio.gather(*(world.ask(name, stream=stream) for name in urls))
                    assert {n: s.outcome for n, s in zip(urls, told, strict=True)} == {
                        n: e for n, (_, e) in urls.items()
                    }
                    assert [wrongs(said, DEADLINE_S) for said in told] == [[]] * len(urls)


async def test_a_door_that_closes_and_opens_again_is_found_open(tmp_path: Path) -> None:
    async with fault_world(tmp_path, {"fast": HEALTHY}, timeout_s=DEADLINE_S) as world:
        proxy = world.proxies["fast"]
        assert (await world.ask("fast")).outcome == OK
        await proxy.close_door()
        refused = await world.ask("fast")
        assert (refused.outcome, wrongs(refused, DEADLINE_S)) == (GONE, [])
        await proxy.open_door()
        assert await not_kept(world, "fast", refused, stream=False, deadline_s=DEADLINE_S) == []
