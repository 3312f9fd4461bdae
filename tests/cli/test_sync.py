"""`bascule sync` on a data folder, as an operator runs it, with a site of our own beside."""

import asyncio
import json
import threading
from contextlib import contextmanager

from bascule.cli import failures
from bascule.testing.site import running_site


@contextmanager
def site_beside(pages):
    """The command owns this thread's loop: the site has a loop and a thread of its own."""
    started, stop = threading.Event(), asyncio.Event()
    found = {}

    async def serve():
        async with running_site(pages) as site:
            found.update(site=site, loop=asyncio.get_running_loop())
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    try:
        yield found["site"]
    finally:
        found["loop"].call_soon_threadsafe(stop.set)
        thread.join(10)


def listing(site, *paths):
    return "<urlset>" + "".join(f"<url><loc>{site.url}{path}</loc></url>" for path in paths) + "</urlset>"


def test_a_site_is_taken_in_asked_and_followed(cli, folder):
    pages = {
        "/bridges": "<title>Bridges</title><h1>Bridges</h1><p>The Tower Bridge was opened in 1894 by a prince.</p>",
        "/locks": "<title>Locks</title><h1>Locks</h1><p>A lock lifts a boat between two levels of a canal.</p>",
    }
    with site_beside(pages) as site:
        pages["/map.xml"] = site.pages["/map.xml"] = listing(site, "/bridges", "/locks")
        with (folder / "bascule.toml").open("a") as file:
            file.write(
                f'[fetcher]\nallow = ["{site.authority}"]\n[sources.site]\nkind = "sitemap"\nurl = "{site.url}/map.xml"\n'
                'collection = "site"\nallow = ["public"]\n'
            )
        (report,) = cli.json("sync", "--data", folder)
        assert report["counts"] == {"indexed": 2} and report["finished"] and report["skipped"] == []
        answer = cli.json("ask", "When was the Tower Bridge opened?", "--data", folder)
        assert "1894" in answer["answer"] and answer["citations"][0]["title"] == "Bridges"

        code, out, _ = cli("sync", "site", "--data", folder)
        assert code == 0 and "2 not asked for again" in out and site.times()["/locks"] == 2

        site.pages["/map.xml"] = listing(site, "/locks")
        code, out, _ = cli("sync", "--data", folder)
        assert code == failures.FAILED and "1 deletions held back: 1 of 2 documents" in out
        assert cli("sync", "--confirm-deletions", "--data", folder)[0] == 0
        assert [d["external_id"] for d in cli.json("documents", "list", "--data", folder)["data"]] == [
            site.url + "/locks"
        ]

        site.all_fail = 500
        code, out, err = cli("sync", "--json", "--data", folder)
        assert code == failures.STORAGE and json.loads(out)[0]["stopped"] and "nothing of it was deleted" in err


def test_a_name_that_is_not_there_and_a_file_without_sources_are_said(cli, folder):
    code, _, err = cli("sync", "--data", folder)
    assert code == failures.USAGE and "[sources]" in err
    with (folder / "bascule.toml").open("a") as file:
        file.write('[sources.site]\nkind = "url"\nurls = ["https://example.com/"]\ncollection = "c"\n')
    code, _, err = cli("sync", "other", "--data", folder)
    assert code == failures.REFUSED and "site" in err


def test_a_source_of_another_tenant_is_reported_and_only_administrators_run_it(cli, folder):
    with site_beside({"/a": "<p>words of a page"}) as site:
        with (folder / "bascule.toml").open("a") as file:
            file.write(
                f'[fetcher]\nallow = ["{site.authority}"]\n[sources.site]\nkind = "url"\nurls = ["{site.url}/a"]\n'
                'collection = "c"\ntenant = "acme"\n'
            )
        reader = cli.json("keys", "create", "--name", "r", "--tenant", "acme", "--data", folder)["key"]
        code, _, err = cli("sync", "--key", reader, "--data", folder)
        assert code == failures.REFUSED and "scope" in err and site.asked == []
        (report,) = cli.json("sync", "--data", folder)
        assert report["counts"] == {"indexed": 1}
        (found,) = cli.json("documents", "list", "--tenant", "acme", "--data", folder)["data"]
        assert found["external_id"] == site.url + "/a"


def test_a_remote_server_is_not_asked_to_sync(cli, monkeypatch):
    monkeypatch.setenv("BASCULE_URL", "http://127.0.0.1:9")
    code, _, err = cli("sync")
    assert code == failures.USAGE and "every_s" in err
