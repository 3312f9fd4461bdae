"""The frameworks' own clients, unchanged, over HTTP against a running Bascule with a fake vendor behind it.

They live in an environment of their own (tests/clients/clients.in says why), so each check is a script run by its interpreter.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.testing.running import running, settings_for
from bascule.testing.upstream import FakeUpstream, Fault, embedding, fake_upstream

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="NOT TESTED: LangChain and LlamaIndex; `make setup` makes .venv-clients for them"
)
Check = Callable[[str], Awaitable[dict[str, Any]]]


@pytest.fixture
async def world(tmp_path, monkeypatch) -> AsyncIterator[tuple[FakeUpstream, Check]]:
    monkeypatch.setenv("UPSTREAM_KEY", "sk-upstream-secret")
    async with fake_upstream() as upstream:
        settings = settings_for(
            tmp_path / "data",
            providers={"main": {"kind": "openai", "base_url": upstream.url, "api_key": "env:UPSTREAM_KEY"}},
            models={
                name: {"targets": [{"provider": "main", "model": f"vendor-{name}"}]}
                for name in ("fast", "gpt-4o", "vectors")
            },
            gateway={"max_attempts": 1, "timeout_s": 20},
        )
        async with running(settings) as (url, _, admin):

            async def check(name: str) -> dict[str, Any]:
                return await run(name, {"BASCULE_URL": url, "BASCULE_KEY": admin})

            yield upstream, check


async def run(name: str, given: dict[str, str]) -> dict[str, Any]:
    """What the script printed; fails with its errors where it fails."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
    process = await asyncio.create_subprocess_exec(
        str(PYTHON), str(ROOT / "tests" / "clients" / name),
        env={**kept, **given}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(120):
            out, errors = await process.communicate()
    except BaseException:
        process.kill()
        raise
    assert process.returncode == 0, errors.decode()[-3000:]
    found: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return found


def unit(text: str) -> list[float]:
    raw = embedding(text, 8)
    length = sum(x * x for x in raw) ** 0.5
    return [x / length for x in raw]


async def test_langchains_clients_run_unchanged(world):
    upstream, check = world
    call = Fault(tool_calls=[CHAT_CALL], finish="tool_calls")
    told = Fault(content="It is sunny.")
    city = Fault(content='{"name":"Bern","people":133000}')
    # invoke (its second call is a hit), stream, tools, structured; then, by way of responses and of messages, without the last
    upstream.faults.extend([Fault(), Fault(), call, told, city, *[Fault(), Fault(), call, told] * 2])
    found = await check("check_langchain.py")
    assert (found["invoke"], found["usage"]) == ("answer 1 to Hello", 18)
    assert "".join(found["stream"]) == "answer 2 to Stream"
    assert len([piece for piece in found["stream"] if piece]) > 1
    used = {"name": "weather", "args": {"city": "Bern"}, "after": "It is sunny."}
    assert found["tools"] == found["responses_tools"] == found["claude_tools"] == used
    assert found["structured"] == {"name": "Bern", "people": 133000}
    assert found["responses"] == "answer 6 to Respond"
    assert found["responses_stream"] == "answer 7 to Respond in pieces"
    assert found["claude"] == "answer 10 to Hello Claude"
    assert found["claude_stream"] == "answer 11 to Stream, Claude"
    assert found["embedded"] == [8, 8]
    assert found["query"] == pytest.approx(unit("one"), abs=1e-5)
    assert {seen.path for seen in upstream.calls} == {"/v1/chat/completions", "/v1/embeddings"}


async def test_llama_indexs_openai_clients_run_unchanged(world):
    upstream, check = world
    upstream.faults.append(Fault(tool_calls=[CHAT_CALL], finish="tool_calls"))
    found = await check("check_llama_index.py")
    assert found["tool"] == {"name": "weather", "args": {"city": "Bern"}}
    assert found["chat"] == "answer 2 to Hello"
    assert "".join(piece or "" for piece in found["stream"]) == "answer 3 to Stream"
    assert found["like"] == "answer 4 to Like"
    assert found["like_stream"] == "answer 5 to Like in pieces"
    assert found["embedded"] == [8, 8]
    assert found["query"] == pytest.approx(unit("one"), abs=1e-5)
