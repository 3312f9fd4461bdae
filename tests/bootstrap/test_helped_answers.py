"""The steps that ask a model or a reranker, switched on in a configuration, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bascule.bootstrap import init, open_app
from bascule.core.connectors import SourceItem
from bascule.core.errors import ConfigError
from bascule.core.principals import system_principal
from bascule.core.rights import Rights
from bascule.testing.running import settings_for, until

WHO = system_principal("default")
TEXTS = {
    "tent": "The tent is sewn by Mara.",
    "people": "Mara lives in Bergen and has a boat.",
    "lamp": "Lamps are bright.",
}
SAYS = {"found so far": "Where does Mara live?", "You order passages": "2, 1", "You check whether": "YES"}


@pytest.fixture
async def vendor() -> AsyncIterator[str]:
    async def chat(request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        system = asked["messages"][0]["content"]
        text = next((said for word, said in SAYS.items() if word in system), "Mara lives in Bergen [1].")
        message = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop", "index": 0}
        usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
        return web.json_response({"id": "c", "object": "chat.completion", "choices": [message], "usage": usage})

    async def rerank(request: web.Request) -> web.Response:
        texts = json.loads(await request.read())["documents"]
        return web.json_response(
            {"results": [{"index": i, "relevance_score": "boat" in t} for i, t in enumerate(texts)]}
        )

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/rerank", rerank)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


def _settings(folder: Path, vendor: str, **rag: Any) -> Any:
    return settings_for(
        folder,
        providers={"v": {"kind": "openai", "base_url": vendor}},
        models={"chat": {"targets": [{"provider": "v", "model": "m"}]}},
        rag={"embedding_model": None, **rag},
    )


@pytest.mark.parametrize("by_model", [False, True])
async def test_hops_a_judge_and_a_reranker_are_asked_where_they_are_switched_on(
    by_model: bool, vendor: str, tmp_path: Path
) -> None:
    reranking: dict[str, Any] = (
        {"rerank_by_model": True} if by_model else {"reranker": {"kind": "cohere", "base_url": vendor}}
    )
    settings = _settings(tmp_path / "d", vendor, chat_model="chat", hops=1, judge="model", **reranking)
    await init(settings)
    async with open_app(settings, work=True) as app:
        assert app.ingest is not None
        assert app.questions is not None
        items = [
            SourceItem(external_id=name, name=f"{name}.txt", data=text.encode(), rights=Rights.of(["public"]))
            for name, text in TEXTS.items()
        ]
        await app.ingest.take(WHO, "docs", items, None)

        async def ended() -> bool:
            return not await app.catalogue.unfinished_jobs()

        await until(ended, 60)
        answer = await app.questions.answer(WHO, "Which town is the one who sews the tent, Mara, from?")
        assert answer.answer.startswith("Mara lives in Bergen.")
        view = await app.questions.explain(WHO, answer.id)
        asked = [a for s in view["stages"] for a in s["facts"].get("asked", ())]
        assert {a["for"] for a in asked} == {"rerank", "hop", "judge"}
        assert all("error" not in a for a in asked)
        assert answer.usage["input_tokens"] > 7, "every call that the answer took is counted"
        (search,) = next(s["facts"]["searches"] for s in view["stages"] if s["name"] == "further")
        assert search["query"] == "Where does Mara live?"
        assert any(
            "reranker" in h["parts"] for s in view["stages"] if s["name"] == "rerank" for h in s["facts"]["hits"]
        )


@pytest.mark.parametrize(
    ("rag", "says"),
    [
        ({"hops": 1}, "rag.helper_model"),
        ({"chat_model": "chat", "rerank_by_model": True, "reranker": {"kind": "jina"}}, "exclude each other"),
        ({"reranker": {"kind": "cohere", "colour": "red"}}, "rag.reranker.colour"),
        ({"reranker": {"kind": "oracle"}}, "Known kinds: cohere, jina, onnx, voyage"),
    ],
)
async def test_a_configuration_that_cannot_work_is_refused(rag: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, ValueError), match=says):
        settings = _settings(tmp_path / "d", "http://127.0.0.1:1/v1", **rag)
        await init(settings)
        async with open_app(settings, work=False):
            pass
