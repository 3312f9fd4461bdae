"""Rerankers: three vendors' formats over real HTTP, and a cross-encoder in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from aiohttp import web
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from bascule.bootstrap.plugins import connect_plugin
from bascule.core.documents import VisibleChunk
from bascule.core.errors import (
    ConfigError,
    UpstreamError,
    UpstreamInvalid,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bascule.core.http import HttpClient
from bascule.core.reranking import Reranker
from bascule.core.resources import Resources
from bascule.plugins.http_clients import httptools
from bascule.settings import StoreSettings
from bascule.testing.gateway import call
from bascule.testing.rag_fakes import World

SECRET = "sk-rerank-secret"
KINDS = {"cohere": "results", "jina": "results", "voyage": "data"}


async def _chunks(*texts: str) -> list[VisibleChunk]:
    world = World()
    for number, text in enumerate(texts):
        await world.add(f"d{number}", text, heading_path=("Shop",))
    return [chunk for document in world.catalogue.documents.values() for chunk in document.chunks]


class Vendor:
    """Scores a text by its length; `status` and `body` are said instead when set."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.body: bytes | None = None
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.rows = "results"

    async def handle(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((request.path, headers, asked))
        if self.body is not None or self.status != 200:
            return web.Response(status=self.status, body=self.body or b"no", headers={"retry-after": "7"})
        found = [{"index": at, "relevance_score": len(text) / 1000} for at, text in enumerate(asked["documents"])]
        return web.json_response({self.rows: sorted(found, key=lambda row: -row["relevance_score"])})


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    vendor = Vendor()
    app = web.Application()
    app.router.add_post("/{tail:.*}", vendor.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    vendor.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield vendor
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with httptools.connect(httptools.Settings(pool_size=4)) as client:
        yield client


@pytest.fixture
async def resources(http: HttpClient, tmp_path: Path) -> Resources:
    return Resources(http=http, data=tmp_path, models=tmp_path, secret=lambda reference: SECRET)


async def _connected(stack: AsyncExitStack, resources: Resources, **given: Any) -> Reranker:
    found: Reranker = await connect_plugin(
        stack, "rerankers", "rag.reranker", StoreSettings.model_validate(given), resources
    )
    return found


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_each_vendors_format(kind: str, vendor: Vendor, resources: Resources) -> None:
    vendor.rows = KINDS[kind]
    async with AsyncExitStack() as stack:
        reranker = await _connected(
            stack, resources, kind=kind, base_url=vendor.url, api_key="env:X", model="m", max_chars=200
        )
        found = await reranker.scores("which?", await _chunks("a", "b" * 900, "cc"), call())
    assert found == [0.006, 0.2, 0.007]
    ((path, headers, asked),) = vendor.seen
    assert (path, headers["authorization"]) == ("/v1/rerank", f"Bearer {SECRET}")
    assert (asked["query"], asked["model"], asked["documents"][0]) == ("which?", "m", "Shop\na")


@pytest.mark.parametrize(
    ("status", "raised"),
    [(429, UpstreamRateLimited), (500, UpstreamUnavailable), (401, UpstreamRejected), (302, UpstreamInvalid)],
)
async def test_a_vendors_refusal(
    status: int, raised: type[UpstreamError], vendor: Vendor, resources: Resources
) -> None:
    vendor.status, vendor.body = status, f'{{"message": "key {SECRET}"}}'.encode()
    async with AsyncExitStack() as stack:
        reranker = await _connected(stack, resources, kind="cohere", base_url=vendor.url, api_key="env:X")
        with pytest.raises(raised) as caught:
            await reranker.scores("which?", await _chunks("a", "b"), call())
    assert SECRET not in str(vars(caught.value))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"results": null}', b'{"results": [{"index": 0, "relevance_score": 1}]}',
        b'{"results": [{"index": 0, "relevance_score": 1}, {"index": 2, "relevance_score": 1}]}',
        b'{"results": [{"index": 0, "relevance_score": "high"}, {"index": 1, "relevance_score": 1}]}',
        b'{"results": [{"index": 0, "relevance_score": "nan"}, {"index": 1, "relevance_score": 1}]}',
        b'{"results": [{"index": 0}, {"index": 1}]}',
    ],
)  # fmt: skip
async def test_an_answer_that_is_no_ranking_is_no_ranking(body: bytes, vendor: Vendor, resources: Resources) -> None:
    vendor.body = body
    async with AsyncExitStack() as stack:
        reranker = await _connected(stack, resources, kind="cohere", base_url=vendor.url)
        with pytest.raises(UpstreamInvalid):
            await reranker.scores("which?", await _chunks("a", "b"), call())


async def test_nothing_to_order_asks_nobody(vendor: Vendor, resources: Resources) -> None:
    async with AsyncExitStack() as stack:
        reranker = await _connected(stack, resources, kind="jina", base_url=vendor.url)
        assert await reranker.scores("which?", [], call()) == []
    assert vendor.seen == []


# ---------------------------------------------------------------- onnx

WORDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "lamp": 4, "tent": 5, "good": 6}


def _folder(folder: Path, *, two: bool = False, asks: str = "token_type_ids") -> Path:
    """A graph that sums the weights of a pair's words, those of the question left out: `good` counts 2, `tent` 1."""
    weights = np.array([0, 0, 0, 0, 0.25, 1, 2], dtype=np.float32)
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["each"]),
        helper.make_node("Cast", ["token_type_ids" if asks == "token_type_ids" else asks], ["passage"], to=1),
        helper.make_node("Mul", ["each", "passage"], ["counted"]),
        helper.make_node("ReduceSum", ["counted", "axes"], ["score"], keepdims=1),
    ]
    kept = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([1]), "axes")]
    last = "score"
    if two:
        nodes += [
            helper.make_node("Neg", ["score"], ["against"]),
            helper.make_node("Concat", ["against", "score"], ["both"], axis=1),
        ]
        last = "both"
    ints = [helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "t"]) for n in ("input_ids", asks)]
    out = helper.make_tensor_value_info(last, TensorProto.FLOAT, ["b", 2 if two else 1])
    graph = helper.make_graph(nodes, "pairs", ints, [out], kept)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(folder / "model.onnx"))
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("two", [False, True])
async def test_a_cross_encoder_reads_question_and_passage_together(
    two: bool, tmp_path: Path, resources: Resources
) -> None:
    _folder(tmp_path, two=two)
    sha256 = hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    async with AsyncExitStack() as stack:
        reranker = await _connected(stack, resources, kind="onnx", folder=str(tmp_path), sha256=sha256)
        found = await reranker.scores("good tent", await _chunks("lamp", "good tent", "tent"), call())
        assert found == pytest.approx([x * (2 if two else 1) for x in (0.25, 3.0, 1.0)])
        with pytest.raises(UpstreamTimeout):
            await reranker.scores("good tent", await _chunks("lamp"), call(timeout_s=-1.0))


async def test_a_long_passage_is_cut_never_the_question(tmp_path: Path, resources: Resources) -> None:
    async with AsyncExitStack() as stack:
        reranker = await _connected(stack, resources, kind="onnx", folder=str(_folder(tmp_path)), max_tokens=32)
        (found,) = await reranker.scores("good tent " * 5, await _chunks("tent " * 500), call())
    assert 10 < found < 25


@pytest.mark.parametrize("wrong", ["nothing", "sha256", "graph", "inputs"])
async def test_a_folder_that_holds_no_cross_encoder_is_refused_at_the_start(
    wrong: str, tmp_path: Path, resources: Resources
) -> None:
    given: dict[str, Any] = {"kind": "onnx", "folder": str(tmp_path)}
    if wrong != "nothing":
        _folder(tmp_path, asks="pixels" if wrong == "inputs" else "token_type_ids")
    if wrong == "sha256":
        given["sha256"] = "0" * 64
    if wrong == "graph":
        (tmp_path / "model.onnx").write_bytes(b"no graph")
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError) as caught:
            await _connected(stack, resources, **given)
    assert {"nothing": "holds no", "sha256": "sha256", "graph": "cannot be loaded", "inputs": "pixels"}[wrong] in str(
        caught.value
    )
