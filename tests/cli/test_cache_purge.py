"""cache purge: kept answers of a running server, removed by an administrator."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from bascule.cli import failures
from bascule.cli.app import run
from bascule.settings import ModelSettings, ProviderSettings, TargetSettings
from bascule.testing.running import running, settings_for

ECHO = {"echo": ProviderSettings(kind="echo")}
MODELS = {"fast": ModelSettings(targets=(TargetSettings(provider="echo", model="any"),))}


async def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = await asyncio.to_thread(run, list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


async def test_kept_answers_of_a_model_are_removed_and_no_others(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path / "data").model_copy(update={"providers": ECHO, "models": MODELS})
    async with running(settings) as (url, _, admin), aiohttp.ClientSession() as session:
        monkeypatch.setenv("BASCULE_URL", url)
        monkeypatch.setenv("BASCULE_KEY", admin)

        async def cached() -> str:
            body = {"model": "fast", "messages": [{"role": "user", "content": "hello"}]}
            headers = {"authorization": f"Bearer {admin}"}
            async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as reply:
                assert reply.status == 200, await reply.text()
                return reply.headers["x-bascule-cache"]

        assert [await cached(), await cached()] == ["MISS", "HIT"]
        assert (await command(capsys, "cache", "purge", "model", "another"))[1] == "Removed 0 kept answers.\n"
        assert await cached() == "HIT"
        code, out, err = await command(capsys, "cache", "purge", "model", "fast", "--json")
        assert (code, json.loads(out)) == (0, {"removed": 1}), err
        assert await cached() == "MISS"
        assert (await command(capsys, "cache", "purge", "tenant"))[:2] == (0, "Removed 1 kept answers.\n")
        code, _, err = await command(capsys, "cache", "purge", "key", "--key", admin)
        assert code != 0 and "by its id" in err
        assert (await command(capsys, "cache", "purge", "tenant", "--key", "wrong"))[0] == failures.REFUSED


async def test_without_a_server_it_says_what_to_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BASCULE_URL", raising=False)
    code, _, err = await command(capsys, "cache", "purge", "tenant")
    assert code != 0 and "BASCULE_URL" in err
