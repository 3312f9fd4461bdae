from __future__ import annotations

import json
from array import array

import pytest

from bascule.core.chat import ANTHROPIC_MESSAGES, ChatRequest
from bascule.core.embedding import EmbeddingRequest
from bascule.plugins.providers import echo
from bascule.plugins.providers.echo import EchoProvider
from bascule.testing.gateway import call, collect, http_client, request, resources, said

MESSAGES = [
    {"role": "system", "content": "Rules."},
    {"role": "user", "content": [{"type": "text", "text": "one  two"}, {"type": "text", "text": "three\n"}]},
]
WHOLE = "system: Rules.\nuser: one  two\nthree\n"


async def test_it_answers_with_its_whole_prompt_plain_and_streamed_in_pieces() -> None:
    response = await EchoProvider().chat(request(messages=MESSAGES), call())
    chunks = await collect(await EchoProvider().stream(request(messages=MESSAGES, stream=True), call()))
    assert response.text == said(chunks) == WHOLE
    assert json.loads(response.body)["choices"][0]["message"]["content"] == WHOLE
    assert len(chunks) > 4
    assert chunks[-1].last


async def test_it_speaks_anthropics_format_too() -> None:
    view = {"model": "m", "system": "Rules.", "messages": MESSAGES[1:]}
    asked = ChatRequest(wire=ANTHROPIC_MESSAGES, body=json.dumps(view).encode(), view=view, model="m")
    assert json.loads((await EchoProvider().chat(asked, call())).body)["content"][0]["text"] == WHOLE


async def test_usage_is_streamed_where_it_was_asked_for() -> None:
    asked = request(stream=True, stream_options={"include_usage": True})
    chunks = await collect(await EchoProvider().stream(asked, call()))
    assert json.loads(chunks[-2].data)["usage"]["total_tokens"] > 0


async def test_it_embeds_the_same_text_alike_and_like_texts_close() -> None:
    async with http_client() as http:
        async with echo.connect(echo.Settings(dimension=128), resources(http)) as provider:
            texts = ("the red bridge", "the red bridge opens", "quarterly payroll figures", "the red bridge")
            response = await provider.embed(EmbeddingRequest(model="e", texts=texts), call())
    a, b, c, again = (array("f", v) for v in response.vectors)

    def dot(x: array[float], y: array[float]) -> float:
        return sum(p * q for p, q in zip(x, y, strict=True))

    assert a == again
    assert dot(a, a) == pytest.approx(1, abs=1e-6)
    assert dot(a, b) > 0.7 > dot(a, c)
