"""Answers from documents under a policy: masked for the vendor, whole and cited for the asker."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from bascule.testing.running import running, settings_for, until
from bascule.testing.upstream import Fault, fake_upstream

TEXT = "Refunds. Write to refunds@acme.example for refunds of bridge tolls within thirty days."


async def test_a_masked_passage_is_cited_like_any_other(tmp_path: Path) -> None:
    async with fake_upstream() as up:
        up.always = Fault(content="Write to <EMAIL_1> for refunds of bridge tolls within thirty days [1].")
        settings = settings_for(
            tmp_path,
            providers={"main": {"kind": "openai", "base_url": up.url}},
            models={"fast": {"targets": [{"provider": "main", "model": "m"}], "policies": ["pii"], "keep_text": True}},
            policies={"pii": {"kind": "pii"}},
            rag={"embedding_model": None, "chat_model": "fast", "redact": "off"},
        )
        async with running(settings) as (url, app, admin), aiohttp.ClientSession(url) as http:
            key = {"authorization": f"Bearer {admin}"}
            form = aiohttp.FormData()
            form.add_field("collection", "tolls")
            form.add_field("file", TEXT.encode(), filename="refunds.txt", content_type="text/plain")
            async with http.post("/v1/documents", data=form, headers=key) as reply:
                job = await reply.json()
                assert reply.status == 202, job

            async def done() -> bool:
                async with http.get(f"/v1/jobs/{job['id']}", headers=key) as reply:
                    return (await reply.json())["state"] in ("done", "finished", "failed")

            await until(done, 20)
            asked = {"question": "Where do I write for refunds of bridge tolls?", "collections": ["tolls"]}
            async with http.post("/v1/answers", json=asked, headers=key) as reply:
                answer = await reply.json()
            assert b"refunds@acme" not in up.calls[0].raw and b"<EMAIL_1>" in up.calls[0].raw
            assert "refunds@acme.example" in answer["answer"], answer
            assert len(answer["citations"]) == 1

            await until(lambda: not app.calls.waiting, 5)
            async with http.get("/v1/calls?model=fast", headers=key) as reply:
                (call,) = (await reply.json())["data"]
            path = f"/v1/calls/{call['id']}"
            async with http.get(path, headers=key) as reply:
                assert "refunds of bridge tolls" in (await reply.json())["text"]["prompt"]
            document = answer["citations"][0]["document_id"]
            async with http.delete(f"/v1/documents/{document}", headers=key) as reply:
                assert reply.status == 204
            async with http.get(path, headers=key) as reply:
                assert (await reply.json())["text"] is None
