"""Documents brought by URL in a request, through the fetcher, over a real server."""

import aiohttp
import pytest

from bascule.testing.running import running, settings_for, until
from bascule.testing.site import Page, running_site


@pytest.fixture
async def site():
    async with running_site({"/prices": "<title>Prices</title><p>A bridge costs nine pounds.</p>"}) as site:
        yield site


def settings(tmp_path, *allow, fetch_urls=True):
    server = {"fetch_urls": fetch_urls}
    return settings_for(tmp_path / "data", rag={"embedding_model": None}, server=server, fetcher={"allow": list(allow)})


async def bring(http, key, *documents):
    body = {"collection": "c", "documents": list(documents)}
    async with http.post("/v1/documents", json=body, headers={"authorization": f"Bearer {key}"}) as reply:
        return reply.status, await reply.json()


async def test_a_document_is_fetched_by_its_url_and_others_of_the_request_are_taken_too(tmp_path, site):
    site.pages["/inside"] = Page(status=302, headers={"location": "http://169.254.169.254/"})
    async with running(settings(tmp_path, site.authority)) as (url, _, key), aiohttp.ClientSession(url) as http:
        status, job = await bring(
            http, key, {"external_id": "prices", "url": site.url + "/prices", "metadata": {"of": "2026"}},
            {"external_id": "plain", "text": "words"}, {"external_id": "gone", "url": site.url + "/gone"},
            {"external_id": "inside", "url": site.url + "/inside"}, {"external_id": "none", "url": "file:///etc/passwd"},
        )  # fmt: skip
        assert status == 202 and [item["external_id"] for item in job["skipped"]] == ["gone", "inside", "none"]
        assert "not public" in job["skipped"][1]["reason"] and "169.254" not in str(job["skipped"])

        async def indexed():
            async with http.get("/v1/documents", headers={"authorization": f"Bearer {key}"}) as reply:
                found = {d["external_id"]: d for d in (await reply.json())["data"]}
            return found if {d["state"] for d in found.values()} == {"indexed"} else None

        await until(indexed, 20)
        found = await indexed()
        assert sorted(found) == ["plain", "prices"] and found["prices"]["title"] == "Prices"
        assert (
            found["prices"]["metadata"]["url"] == site.url + "/prices" and found["prices"]["metadata"]["of"] == "2026"
        )


async def test_private_addresses_are_closed_to_requests(tmp_path, site):
    async with running(settings(tmp_path)) as (url, _, key), aiohttp.ClientSession(url) as http:
        status, job = await bring(
            http, key, *({"external_id": u, "url": u} for u in (site.url, url, "http://localhost/", "http://[::1]/"))
        )
        assert status == 202 and len(job["skipped"]) == 4 and site.asked == []


async def test_urls_are_refused_where_the_operator_has_not_opened_them(tmp_path, site):
    async with (
        running(settings(tmp_path, site.authority, fetch_urls=False)) as (url, _, key),
        aiohttp.ClientSession(url) as http,
    ):
        status, body = await bring(http, key, {"external_id": "a", "text": "x"}, {"external_id": "b", "url": site.url})
        assert (
            status == 400
            and body["error"]["param"] == "documents[1].url"
            and "server.fetch_urls" in body["error"]["message"]
        )
        assert site.asked == []


async def test_a_document_has_one_origin_and_a_request_few_urls(tmp_path, site):
    async with running(settings(tmp_path, site.authority)) as (url, _, key), aiohttp.ClientSession(url) as http:
        status, _ = await bring(http, key, {"external_id": "a", "text": "x", "url": site.url})
        assert status == 400
        status, body = await bring(http, key, *({"external_id": str(n), "url": site.url} for n in range(17)))
        assert status == 400 and "16" in body["error"]["message"] and site.asked == []
