from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from bascule.server.exchange import Exchange
from bascule.server.protocol import Protocol
from bascule.testing.running import running, settings_for


@pytest.mark.parametrize(("where", "name"), [(Protocol, "on_body"), (Exchange, "body")])
async def test_a_want_of_memory_is_no_fault_of_the_request(
    where: type, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def none_left(*_: object) -> None:
        raise MemoryError

    async with running(settings_for(tmp_path), work=False) as (url, _, key), aiohttp.ClientSession() as http:
        headers = {"authorization": f"Bearer {key}"}
        with monkeypatch.context() as patched:
            patched.setattr(where, name, none_left)
            async with http.post(f"{url}/v1/chat/completions", json={"model": "x"}, headers=headers) as reply:
                assert (reply.status, (await reply.json())["error"]["code"]) == (503, "server_exhausted")
                assert reply.headers["retry-after"] == "1"
        async with http.get(f"{url}/v1/models", headers=headers) as reply:
            assert reply.status == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"NOTHING KNOWN\r\n\r\n")
        assert b" 400 " in await reader.readline()  # what cannot be read is still the request's own fault
        writer.close()
