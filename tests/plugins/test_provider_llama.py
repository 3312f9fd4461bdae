"""A GGUF file answers: whole and streamed, under its own key, in a child that dies, comes again and ends with its parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from bascule.bootstrap import init, open_app
from bascule.bootstrap.plugins import connect_plugin
from bascule.core.connectors import SourceItem
from bascule.core.errors import ConfigError, InvalidRequest, UpstreamError, UpstreamRejected, UpstreamUnavailable
from bascule.core.http import HttpClient
from bascule.core.principals import system_principal
from bascule.core.resources import Resources
from bascule.core.rights import Rights
from bascule.plugins.http_clients import httptools
from bascule.plugins.providers.llama import process as processes
from bascule.plugins.providers.llama.provider import LlamaProvider
from bascule.settings import ProviderSettings
from bascule.testing import tiny_gguf
from bascule.testing.gateway import call, collect, request
from bascule.testing.running import settings_for, until

SENTENCE = "The lamp weighs 5 kg [1]."
WHO = system_principal("default")


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with httptools.connect(httptools.Settings(pool_size=4)) as client:
        yield client


async def _open(stack: AsyncExitStack, http: HttpClient, file: Path, **given: Any) -> LlamaProvider:
    resources = Resources(http=http, data=file.parent, models=file.parent, secret=lambda reference: "")
    section = ProviderSettings.model_validate({"kind": "llama", "file": file, "threads": 1, **given})
    found: LlamaProvider = await connect_plugin(stack, "providers", "providers.local", section, resources)
    return found


@pytest.fixture
async def provider(tmp_path: Path, http: HttpClient) -> AsyncIterator[LlamaProvider]:
    async with AsyncExitStack() as stack:
        yield await _open(stack, http, tiny_gguf.write(tmp_path / "tiny.gguf", SENTENCE), context_tokens=1024)


def _pid(provider: LlamaProvider) -> int:
    child = provider._process._child
    assert child is not None
    return child.pid


async def test_it_answers_whole_and_streamed(provider: LlamaProvider) -> None:
    found = await provider.chat(request("How heavy?", model="local"), call())
    assert (found.text, found.complete, found.finish) == (SENTENCE, True, "stop")
    assert found.usage.input_tokens > 10
    assert found.usage.output_tokens == 2
    assert str(provider._process._file).encode() not in found.body, "where the file lies is nobody's business"
    chunks = await collect(await provider.stream(request("How heavy?", model="local", stream=True), call()))
    assert "".join(c.text for c in chunks) == SENTENCE
    assert chunks[-1].last
    assert [c.usage.output_tokens for c in chunks if c.usage] == [2]


async def test_switches_of_the_library_are_not_reached_from_outside(provider: LlamaProvider) -> None:
    c = call()
    asked = request(
        "How heavy?", model="local", cache_prompt=True, id_slot=0, grammar='root ::= "no"', lora=[{"id": 0}]
    )
    assert (await provider.chat(asked, c)).text == SENTENCE
    assert c.degraded == [f"not_supported:{name}" for name in ("cache_prompt", "grammar", "id_slot", "lora")]


async def test_nothing_is_got_from_elsewhere(provider: LlamaProvider) -> None:
    image = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}]
    for content in (image, [{"type": "text", "text": "a"}, *image], ["text"]):
        view = {"model": "local", "messages": [{"role": "user", "content": content}]}
        asked = request(model="local", messages=view["messages"])
        with pytest.raises(InvalidRequest):
            await provider.chat(asked, call())


async def test_its_server_wants_a_key_and_has_no_page(provider: LlamaProvider, http: HttpClient) -> None:
    address = await provider._process.address()
    assert address.startswith("http://127.0.0.1:")
    for path, key, wanted in (
        ("/v1/chat/completions", "guess", 401),
        ("/slots", provider._process.key, 404),
        ("/props", provider._process.key, 404),
        ("/", provider._process.key, 404),
    ):
        reply = await http.post(address + path, {"authorization": f"Bearer {key}"}, b"{}", 5.0)
        assert reply.status in (wanted, 405, 501), path
        await reply.aclose()


async def test_a_prompt_too_long_is_refused_clearly(provider: LlamaProvider) -> None:
    with pytest.raises(UpstreamRejected) as caught:
        await provider.chat(request("word " * 2000, model="local"), call())
    assert b"exceeds" in caught.value.body


async def test_a_child_that_dies_is_started_again(provider: LlamaProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _pid(provider)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(UpstreamError):
        for _ in range(100):  # until its end is noticed, and then until it may be started again
            await provider.chat(request("How heavy?", model="local"), call())
    monkeypatch.setattr(processes, "AGAIN_S", 0.0)

    async def again() -> bool:
        try:
            return (await provider.chat(request("How heavy?", model="local"), call())).text == SENTENCE
        except UpstreamError:
            return False

    await until(again, 30)
    assert _pid(provider) != first


async def test_a_child_that_keeps_dying_is_not_started_over_and_over(provider: LlamaProvider) -> None:
    os.kill(_pid(provider), signal.SIGKILL)

    async def dead() -> bool:
        child = provider._process._child
        return child is not None and child.returncode is not None

    await until(dead, 10)
    with pytest.raises(UpstreamUnavailable) as caught:
        await provider.chat(request("How heavy?", model="local"), call())
    assert 0 < (caught.value.retry_after_s or 0) <= processes.AGAIN_S


async def test_a_caller_who_leaves_does_not_end_a_start(
    provider: LlamaProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "AGAIN_S", 0.0)
    first = _pid(provider)
    os.kill(first, signal.SIGKILL)

    async def starting() -> bool:
        if provider._process._starting is None:
            with suppress(UpstreamError, TimeoutError):
                await asyncio.wait_for(provider.chat(request("How heavy?", model="local"), call()), 0.02)
        return provider._process._starting is not None

    await until(starting, 30)
    begun = provider._process._starting
    assert (await provider.chat(request("How heavy?", model="local"), call(timeout_s=30.0))).text == SENTENCE
    assert provider._process._starting is begun, "the start that the first caller began is the one that answers"
    assert _pid(provider) != first


async def test_no_child_is_left(tmp_path: Path, http: HttpClient) -> None:
    async with AsyncExitStack() as stack:
        pid = _pid(await _open(stack, http, tiny_gguf.write(tmp_path / "tiny.gguf", SENTENCE)))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("content", "says"), [(None, "cannot be read"), (b"PK..", "no GGUF file"), (b"GGUF" + bytes(64), "cannot be run")]
)
async def test_a_file_that_is_no_model_is_refused_at_the_start(
    content: bytes | None, says: str, tmp_path: Path, http: HttpClient
) -> None:
    file = tmp_path / "wrong.gguf"
    if content is not None:
        file.write_bytes(content)
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match=says):
            await _open(stack, http, file)


async def test_one_setting_makes_it_the_model_that_answers(tmp_path: Path) -> None:
    file = tiny_gguf.write(tmp_path / "tiny.gguf", SENTENCE, context=8192)
    settings = settings_for(tmp_path / "d", rag={"embedding_model": None, "local_model": file})
    await init(settings)
    async with open_app(settings, work=True) as app:
        assert app.ingest is not None
        assert app.questions is not None
        item = SourceItem(
            external_id="lamp", name="lamp.txt", data=b"The lamp weighs 5 kg.", rights=Rights.of(["public"])
        )
        await app.ingest.take(WHO, "docs", [item], None)

        async def ended() -> bool:
            return not await app.catalogue.unfinished_jobs()

        await until(ended, 60)
        answer = await app.questions.answer(WHO, "How heavy is the lamp?")
        assert (answer.status, answer.answer, answer.model) == ("answered", "The lamp weighs 5 kg. [1]", "local")
        again = await app.questions.answer(WHO, "How heavy is the lamp?")
        assert again.cache == "HIT", "it is a model like any other: cached, limited, recorded"
        assert json.dumps(sorted(app.gateway.models())).count("local") == 1
        await asyncio.sleep(0)
