"""Our own routes over real HTTP: bodies, scopes, the same 404, uploads, streams of answers."""

from __future__ import annotations

import base64
import json

import aiohttp
import msgspec
import pytest

from bascule.core.errors import UpstreamTimeout
from bascule.server.table import HOT, OPEN, ROUTES
from bascule.testing.server import ADMIN, CHATTER, CHUNK, DOCUMENT, READER, FakeApp, an_answer, serving


def auth(key: str = ADMIN) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def error_of(reply_body: dict) -> tuple[str, str | None]:
    if "status" in reply_body:  # SCIM, which has a number in place of a code
        return {"401": "invalid_api_key", "403": "scope_missing"}.get(reply_body["status"], ""), None
    return reply_body["error"]["code"], reply_body["error"]["param"]


@pytest.fixture
async def fake():
    app = FakeApp(server={"max_body_bytes": 20_000, "max_upload_bytes": 50_000})
    async with serving(app) as (url, _), aiohttp.ClientSession(url) as http:
        yield app, http


async def test_every_route_refuses_a_request_without_a_credential(fake):
    _, http = fake
    for route in (*HOT, *ROUTES, *[r for r in OPEN if r.scope]):
        path = route.path.replace("{id}", "x")
        async with http.request(route.method, path) as reply:
            assert reply.status == 401, path
            body = await reply.json(content_type=None)
            if route.path.startswith("/v1/messages"):
                assert (body["type"], body["error"]["type"]) == ("error", "authentication_error")
            else:
                assert error_of(body)[0] == "invalid_api_key"


async def test_every_route_refuses_a_key_without_its_scope(fake):
    app, http = fake
    for route in (r for r in ROUTES if r.scope):
        wrong = CHATTER if route.scope == "ask" else READER
        async with http.request(route.method, route.path.replace("{id}", DOCUMENT), headers=auth(wrong)) as reply:
            assert reply.status == 403, route.path
            assert error_of(await reply.json(content_type=None))[0] == "scope_missing"
    assert app.ingest.deleted == []


async def test_missing_and_malformed_ids_have_the_same_404(fake):
    _, http = fake
    for route in ROUTES:
        if "{id}" not in route.path:
            continue
        seen = set()
        posted = {"expire": {"expires_at": None}, "reveal": {"pseudonym": "[email:abcdefghij]"}}
        for wrong in ("0000", "x" * 200, "a%00b"):
            path = route.path.replace("{id}", wrong)
            wanted = {
                "PUT": {} if "routes" in path else {"rating": 1} if "feedback" in path else {"allow": []},
                "POST": posted.get(path.rpartition("/")[2], {}),
            }
            if route.path.startswith("/scim/"):
                whole = {"userName": "a", "displayName": "b", "Operations": [{"op": "replace", "value": {}}]}
                wanted = {"PUT": whole, "PATCH": whole}
            body = {"json": wanted[route.method]} if route.method in wanted else {}
            asked = {"params": {"as": "public"}} if route.name == "why" else {}
            async with http.request(route.method, path, headers=auth(), **body, **asked) as reply:
                seen.add((reply.status, await reply.text()))
        assert len(seen) == 1 and seen.pop()[0] == 404, route.path


async def test_an_unknown_route_is_a_404_and_a_wrong_method_a_405_that_names_the_right_ones(fake):
    _, http = fake
    async with http.get("/v1/nothing", headers=auth()) as reply:
        assert reply.status == 404
    for path, allowed in (("/v1/documents", "POST, GET"), ("/v1/chat/completions", "POST"), ("/livez", "GET")):
        async with http.put(path, headers=auth()) as reply:
            assert (reply.status, reply.headers["allow"]) == (405, allowed)
            assert error_of(await reply.json())[0] == "method_not_allowed"


async def test_an_answer_carries_its_citations_and_what_was_missing(fake):
    app, http = fake
    asked = {"question": "May I return it?", "collections": ["handbook"], "filter": {"year": 2026}}
    async with http.post("/v1/answers", json=asked, headers=auth(READER)) as reply:
        answer = await reply.json()
        assert reply.status == 200
        assert reply.headers["x-bascule-degraded"] == "lexical_only"
        assert reply.headers["x-bascule-cache"] == "BYPASS"
    assert answer["citations"][0]["span"] == [0, 37]
    assert answer["status"] == "answered"
    assert app.questions.asked[0]["where"] == {"year": 2026}


async def test_a_conversation_becomes_its_last_question(fake):
    app, http = fake
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "May I return it?"}]},
    ]
    async with http.post("/v1/answers", json={"messages": messages}, headers=auth()) as reply:
        assert reply.status == 200
    assert app.questions.asked[0]["question"] == "May I return it?"
    assert [turn["role"] for turn in app.questions.asked[0]["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/answers", {}, "question"),
        ("/v1/answers", {"question": "a", "messages": [{"role": "user", "content": "b"}]}, "question"),
        ("/v1/answers", {"question": "   "}, "question"),
        ("/v1/answers", {"question": "x" * 4001}, "question"),
        ("/v1/answers", {"question": "a\x00b"}, "question"),
        ("/v1/answers", {"question": "a", "tenant": "other"}, "tenant"),
        ("/v1/answers", {"question": "a", "filter": ["x"]}, "filter"),
        ("/v1/answers", {"messages": [{"role": "assistant", "content": "b"}]}, "messages"),
        ("/v1/answers", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ("/v1/search", {"query": "a", "limit": 51}, "limit"),
        ("/v1/search", {"query": "a", "collections": []}, "collections"),
        ("/v1/search", {"query": 3}, "query"),
        ("/v1/documents", {"collection": "c", "documents": []}, "documents"),
        ("/v1/documents", {"collection": "c", "documents": [{"external_id": "a", "path": "/etc/passwd"}]}, "documents[0].path"),
        ("/v1/documents", {"collection": "c", "documents": [{"external_id": "a"}]}, "documents[0].text"),
        ("/v1/documents", {"collection": "c", "documents": [{"external_id": "a", "content_base64": "%"}]},
         "documents[0].content_base64"),
        ("/v1/documents", {"collection": "c", "documents": [{"external_id": "a", "content_base64": "YWJj\u00fb"}]},
         "documents[0].content_base64"),
        ("/v1/documents", {"collection": "c", "documents": [{"external_id": "a", "text": "t", "allow": ["all"]}]}, "allow"),
        ("/v1/keys", {"name": "x", "scopes": ["root"]}, "scopes[0]"),
        ("/v1/keys", {}, "name"),
    ],
)  # fmt: skip
async def test_a_wrong_body_is_a_400_that_names_the_field(fake, path, body, param):
    _, http = fake
    async with http.post(path, json=body, headers=auth()) as reply:
        text = await reply.text()
        assert reply.status == 400, text
        assert error_of(json.loads(text)) == ("invalid_request", param)


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "colour=red", "&".join(f"a{i}=1" for i in range(60))])
async def test_a_wrong_query_is_a_400(fake, query):
    _, http = fake
    async with http.get("/v1/documents?" + query, headers=auth()) as reply:
        assert reply.status == 400


async def test_a_streamed_answer_is_events_of_the_documented_names(fake):
    app, http = fake
    async with http.post("/v1/answers", json={"question": "a", "stream": True}, headers=auth()) as reply:
        text = await reply.text()
        assert reply.headers["content-type"].startswith("text/event-stream")
    events = [part.split("\n") for part in text.strip().split("\n\n")]
    assert [lines[0] for lines in events] == [
        "event: sources",
        "event: delta",
        "event: citation",
        "event: done",
    ]
    assert json.loads(events[-1][1].removeprefix("data: "))["id"] == "a1"
    assert app.questions.closed == 1


async def test_a_streamed_answer_that_breaks_ends_in_an_error_event(fake):
    app, http = fake
    app.questions.fails = UpstreamTimeout("The deadline ran out.")
    async with http.post("/v1/answers", json={"question": "a", "stream": True}, headers=auth()) as reply:
        last = (await reply.text()).strip().split("\n\n")[-1]
    assert last.startswith("event: error\n")
    assert json.loads(last.partition("data: ")[2])["error"]["code"] == "upstream_timeout"


async def test_the_chat_route_answers_from_documents(fake):
    app, http = fake
    body = {"model": "rag/handbook", "messages": [{"role": "user", "content": "May I return it?"}]}
    async with http.post("/v1/chat/completions", json=body, headers=auth(READER)) as reply:
        answer = await reply.json()
    message = answer["choices"][0]["message"]
    assert message["content"].startswith("Goods may be returned")
    assert message["citations"][0]["chunk_id"] == CHUNK
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert answer["bascule"]["status"] == "answered"
    assert app.questions.asked[0]["collections"] == ["handbook"]


async def test_a_refusal_on_the_chat_route_says_so_in_words(fake):
    app, http = fake
    app.questions.found = msgspec.structs.replace(
        an_answer(), status="refused", answer="", citations=(), reason="no_evidence"
    )
    for stream in (False, True):
        body = {"model": "rag/handbook", "messages": [{"role": "user", "content": "?"}], "stream": stream}
        async with http.post("/v1/chat/completions", json=body, headers=auth(READER)) as reply:
            assert "do not answer this" in await reply.text()


async def test_the_chat_route_streams_an_answer_with_its_citations_at_the_end(fake):
    _, http = fake
    body = {
        "model": "rag/handbook",
        "messages": [{"role": "user", "content": "May I return it?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with http.post("/v1/chat/completions", json=body, headers=auth(READER)) as reply:
        text = await reply.text()
    events = [part.removeprefix("data: ") for part in text.strip().split("\n\n")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(e) for e in events[:-1]]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "Goods" in chunks[1]["choices"][0]["delta"]["content"]
    assert chunks[2]["choices"][0]["delta"]["citations"][0]["chunk_id"] == CHUNK
    assert chunks[2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[3]["usage"]["total_tokens"] == 7


async def test_a_stream_from_documents_that_breaks_never_ends_in_done(fake):
    app, http = fake
    app.questions.fails = UpstreamTimeout("The deadline ran out.")
    body = {"model": "rag/handbook", "messages": [{"role": "user", "content": "?"}], "stream": True}
    async with http.post("/v1/chat/completions", json=body, headers=auth(READER)) as reply:
        text = await reply.text()
    assert "event: error" in text and "[DONE]" not in text


async def test_a_collection_nobody_may_see_is_a_404_on_the_chat_route(fake):
    _, http = fake
    body = {"model": "rag/nowhere", "messages": [{"role": "user", "content": "?"}]}
    async with http.post("/v1/chat/completions", json=body, headers=auth(READER)) as reply:
        assert reply.status == 404
    async with http.post("/v1/chat/completions", json=body, headers=auth(CHATTER)) as reply:
        assert reply.status == 403


async def test_search_passages_explain_and_collections_are_read(fake):
    _, http = fake
    async with http.post("/v1/search", json={"query": "returns"}, headers=auth(READER)) as reply:
        found = await reply.json()
    assert (found["hits"][0]["chunk_id"], found["degraded"]) == (CHUNK, ["lexical_only"])
    async with http.get(f"/v1/passages/{CHUNK}?around=1", headers=auth(READER)) as reply:
        assert (await reply.json())["passage"]["page"] == 2
    async with http.get("/v1/answers/a1/explain", headers=auth(READER)) as reply:
        assert (await reply.json())["diagnosis"] == "answered"
    async with http.get("/v1/collections", headers=auth(READER)) as reply:
        assert (await reply.json())["data"] == [{"name": "handbook", "search": "lexical", "id": "c1", "facts": None}]
    async with http.get("/v1/collections", headers=auth(ADMIN)) as reply:
        assert (await reply.json())["data"][0]["facts"]["chunks"] == 9


async def test_documents_arrive_as_json(fake):
    app, http = fake
    body = {
        "collection": "handbook",
        "allow": ["public"],
        "documents": [
            {"external_id": "a", "text": "Text é", "title": "A", "metadata": {"year": 2026}},
            {
                "external_id": "../../etc/b.pdf",
                "content_base64": base64.b64encode(b"%PDF").decode(),
                "deny": ["user:bob"],
            },
        ],
    }
    async with http.post("/v1/documents", json=body, headers=auth()) as reply:
        job = await reply.json()
        assert reply.status == 202
    assert (job["id"], job["skipped"][0]["external_id"]) == ("j1", "big.bin")
    (collection, first, rights), (_, second, _) = app.ingest.taken
    assert (collection, first.data, first.metadata, first.rights) == (
        "handbook",
        "Text é".encode(),
        {"year": 2026},
        None,
    )
    assert (rights.allow, rights.owner) == (frozenset({"public"}), "root")
    assert (second.data, second.name, second.rights.deny) == (b"%PDF", "b.pdf", frozenset({"user:bob"}))


async def test_documents_arrive_as_a_form(fake):
    app, http = fake
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("collection", "handbook")
    form.add_field("allow", "group:hr")
    form.add_field("allow", "user:ann")
    form.add_field("file", b"# One", filename="C:\\docs\\one.md", content_type="text/markdown")
    form.add_field("file", b"Two", filename="two\u202e.txt")
    async with http.post("/v1/documents", data=form, headers=auth()) as reply:
        assert reply.status == 202
    items = [item for _, item, _ in app.ingest.taken]
    assert [(i.name, i.external_id, i.data) for i in items] == [
        ("one.md", "one.md", b"# One"),
        ("two.txt", "two.txt", b"Two"),
    ]
    assert app.ingest.taken[0][2].allow == frozenset({"group:hr", "user:ann"})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ([("file", "x")], "collection"),
        ([("collection", None)], "file"),
        ([("collection", None), ("file", "a.txt"), ("file", "a.txt")], "external_id"),
        ([("collection", None), ("path", None), ("file", "a.txt")], "path"),
    ],
)
async def test_a_wrong_form_is_a_400(fake, fields, param):
    _, http = fake
    with aiohttp.MultipartWriter("form-data") as form:
        for name, filename in fields:
            part = form.append("value")
            part.set_content_disposition("form-data", name=name, **({"filename": filename} if filename else {}))
    async with http.post("/v1/documents", data=form, headers=auth()) as reply:
        assert reply.status == 400
        assert error_of(await reply.json()) == ("invalid_request", param)


async def test_a_form_that_is_none_is_a_400_and_one_too_large_a_413(fake):
    app, http = fake
    headers = auth() | {"content-type": "multipart/form-data; boundary=abc"}
    async with http.post("/v1/documents", data=b"this is no form", headers=headers) as reply:
        assert reply.status == 400
    async with http.post("/v1/documents", data=b"x" * 1_100_000, headers=headers) as reply:
        assert reply.status == 413
    assert app.ingest.taken == []


async def test_rights_and_report_are_shown_to_the_keeper_only(fake):
    _, http = fake
    async with http.get(f"/v1/documents/{DOCUMENT}", headers=auth(ADMIN)) as reply:
        mine = await reply.json()
    async with http.get(f"/v1/documents/{DOCUMENT}", headers=auth(READER)) as reply:
        theirs = await reply.json()
    assert mine["rights"]["allow"] == ["group:hr", "public"]
    assert (theirs["rights"], theirs["report"]) == (None, None)
    assert "content_hash" not in mine


async def test_documents_are_listed_deleted_and_their_rights_replaced(fake):
    app, http = fake
    async with http.get("/v1/documents?collection=handbook&limit=1", headers=auth()) as reply:
        page = await reply.json()
    assert ([d["id"] for d in page["data"]], page["next"]) == ([DOCUMENT], None)
    async with http.get(f"/v1/documents/{DOCUMENT}/chunks", headers=auth()) as reply:
        assert (await reply.json())["data"][0]["ordinal"] == 0
    async with http.put(f"/v1/documents/{DOCUMENT}/rights", json={"allow": ["user:ann"]}, headers=auth()) as reply:
        assert (await reply.json())["rights"] == {"allow": ["user:ann"], "deny": [], "owner": "root"}
    async with http.delete(f"/v1/documents/{DOCUMENT}", headers=auth()) as reply:
        assert (reply.status, await reply.read()) == (204, b"")
    assert app.ingest.deleted == [DOCUMENT]


async def test_jobs_show_each_documents_reason(fake):
    _, http = fake
    async with http.get("/v1/jobs", headers=auth()) as reply:
        jobs = await reply.json()
    async with http.get("/v1/jobs/j1", headers=auth()) as reply:
        assert (await reply.json()) == jobs["data"][0]
    assert jobs["data"][0]["items"][0]["reason"] == "No text in it."


async def test_a_key_is_shown_once_and_its_hash_never(fake):
    _, http = fake
    async with http.post("/v1/keys", json={"name": "demo", "groups": ["hr"]}, headers=auth()) as reply:
        made = await reply.json()
        assert reply.status == 201
    async with http.get("/v1/keys", headers=auth()) as reply:
        listed = await reply.json()
    async with http.delete("/v1/keys/k1", headers=auth()) as reply:
        assert (await reply.json())["id"] == "k1"
    assert made["key"] == "bsk_new"
    assert listed["data"][0]["key"] is None
    assert "secret_hash" not in json.dumps([made, listed])


async def test_a_gateway_only_server_says_that_it_has_no_documents():
    app = FakeApp()
    app.questions = app.ingest = None
    async with serving(app) as (url, _), aiohttp.ClientSession(url) as http:
        for path, body in (
            ("/v1/search", {"query": "a"}),
            ("/v1/documents", {"collection": "c", "documents": [{"external_id": "a", "text": "t"}]}),
            ("/v1/chat/completions", {"model": "rag/x", "messages": [{"role": "user", "content": "?"}]}),
        ):
            async with http.post(path, json=body, headers=auth()) as reply:
                assert reply.status == 404
                assert "gateway only" in (await reply.json())["error"]["message"]
