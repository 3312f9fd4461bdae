"""The semantic mode of the cache as it is configured and served."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bascule.bootstrap.calls import routes, with_built_in
from bascule.core.errors import ConfigError
from bascule.gateway.routes import SemanticCache
from bascule.settings import Exact, SemanticCacheSettings, Settings
from bascule.testing.running import running
from bascule.testing.semantic import ONE, OTHER
from bascule.testing.upstream import FakeUpstream, fake_upstream

REAL = Path(os.environ.get("BASCULE_MODELS_DIR") or Path(__file__).parents[2] / ".models")


def tree(folder: Path, up: FakeUpstream, semantic: dict[str, Any] | None, **more: Any) -> Settings:
    target = {"targets": [{"provider": "main", "model": "x"}]}
    models = {"faq": {**target, "semantic_cache": semantic}, "embed": target}
    provider = {"kind": "openai", "base_url": up.url}
    return Exact(data=folder / "data", providers={"main": provider}, models=models, rag={"enabled": False}, **more)


async def verdict(http: aiohttp.ClientSession, text: str) -> tuple[str, str]:
    body = {"model": "faq", "messages": [{"role": "user", "content": text}]}
    async with http.post("/v1/chat/completions", json=body) as reply:
        assert reply.status == 200
        return reply.headers["x-bascule-cache"], reply.headers["x-bascule-cache-reason"]


async def test_a_similar_question_is_a_hit_that_says_so_and_a_reload_switches_it_on_and_off(tmp_path: Path) -> None:
    async with fake_upstream() as up:
        mode = {"embedding_model": "embed", "threshold": 0.5, "timeout_s": 5}  # the fake vendor's vectors are no better
        now = [tree(tmp_path, up, mode)]
        async with running(now[0], work=False, source=lambda: now[0]) as (url, app, admin):
            async with aiohttp.ClientSession(url, headers={"authorization": f"Bearer {admin}"}) as http:
                assert (await verdict(http, ONE))[0] == "MISS"
                assert [call.path.rpartition("/")[2] for call in up.calls] == ["completions"]
                hit = await verdict(http, OTHER)
                assert hit[0] == "HIT" and hit[1].startswith("similar question 0.")
                assert [call.path.rpartition("/")[2] for call in up.calls] == ["completions", "embeddings"]
                assert app.reloader is not None
                now[0] = tree(tmp_path, up, None)
                await app.reloader.reload()
                assert (await verdict(http, ONE.upper()))[0] == "MISS"
                assert (await verdict(http, ONE))[0] == "HIT"  # the very same request
                now[0] = tree(tmp_path, up, mode)
                await app.reloader.reload()
                assert [(await verdict(http, text))[0] for text in (ONE.lower(), f" {ONE}")] == ["MISS", "HIT"]
                now[0] = tree(tmp_path, up, {"embedding_model": "gone"})
                with pytest.raises(ConfigError, match="gone"):
                    await app.reloader.reload()
                assert (await verdict(http, f"{ONE} Thanks!"))[0] == "HIT"


async def test_with_the_built_in_model_a_hit_says_how_near_the_questions_are(tmp_path: Path) -> None:
    if not (REAL / "minilm" / "manifest.json").is_file():
        pytest.skip("SKIPPED LOUDLY: the real embedding model is not built; run: bascule models pull")
    async with fake_upstream() as up:
        settings = tree(tmp_path, up, {"embedding_model": "minilm", "timeout_s": 5}, models_dir=REAL)
        async with running(settings, work=False) as (url, _, admin):
            async with aiohttp.ClientSession(url, headers={"authorization": f"Bearer {admin}"}) as http:
                await verdict(http, ONE)
                said, reason = await verdict(http, OTHER)
                assert said == "HIT" and 0.9 <= float(reason.removeprefix("similar question ")) <= 1.0
                for text in (
                    "What is the capital of Spain?",
                    "What was the capital of France?",
                    "What is the Capital of france?",
                ):
                    assert (await verdict(http, text))[0] == "MISS"


def test_settings_become_the_routes_and_the_built_in_model_is_opened_for_it(tmp_path: Path) -> None:
    built = tmp_path / "models" / "minilm"
    built.mkdir(parents=True)
    (built / "model.onnx").write_bytes(b"x")
    target = {"targets": [{"provider": "main", "model": "x"}]}
    given = {**target, "semantic_cache": {"embedding_model": "minilm"}}
    settings = Exact(
        data=tmp_path,
        providers={"main": {"kind": "echo"}},
        models={"faq": given, "plain": target},
        rag={"enabled": False},
    )
    _, models, degraded = with_built_in(settings)
    found = routes(models, settings)
    assert (found["plain"].semantic_cache, degraded) == (None, [])
    assert found["faq"].semantic_cache == SemanticCache(embedding_model="minilm")
    assert found["minilm"].targets[0].provider == "built_in_onnx"
    (built / "model.onnx").unlink()
    assert "minilm" not in with_built_in(settings)[1]


def test_defaults_of_the_settings_and_of_the_route_are_the_same() -> None:
    given, made = SemanticCacheSettings(embedding_model="x"), SemanticCache(embedding_model="x")
    assert given.model_dump() == {name: getattr(made, name) for name in made.__struct_fields__}
