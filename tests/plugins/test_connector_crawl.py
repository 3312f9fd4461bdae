"""A site followed from link to link."""

import pytest
from tests.plugins.test_connectors_web import known_from, listed, skipped, taken

from bascule.core.connectors import Partial, SkippedItem, SourceItem, UnchangedItem
from bascule.core.errors import StorageError
from bascule.core.urls import parse_url
from bascule.plugins.connectors import crawl
from bascule.plugins.connectors._links import read_page
from bascule.plugins.connectors._robots import Robots
from bascule.testing.connector_contract import check_connector
from bascule.testing.site import Page, running_site


@pytest.fixture
async def site():
    async with running_site() as site:
        yield site


def crawl_of(site, *start, **settings):
    settings.setdefault("start", [site.url + path for path in start or ["/docs/"]])
    return crawl.CrawlConnector(site.fetcher(), crawl.Settings(**settings))


def page(*links, head=""):
    return f"<html><head>{head}</head><body>" + "".join(f'<a href="{link}">x</a>' for link in links) + "</body></html>"


def short(site, changes, kind):
    return [c.external_id.removeprefix(site.url) for c in changes if isinstance(c, kind)]


async def test_a_crawl_keeps_the_contract(site):
    site.pages = {
        "/docs/": page("a", "b", "gone"),
        "/docs/a": page("b", "c", "/docs/"),
        "/docs/b": page(),
        "/docs/c": page(),
    }
    expected = [site.url + path for path in ("/docs/", "/docs/a", "/docs/b", "/docs/c")]
    await check_connector(lambda: crawl_of(site), expected=expected)


async def test_it_stays_within_its_bounds(site):
    site.pages = {
        "/docs/": page("/docs/in", "/outside", "http://other.test/", "//10.0.0.1/", "javascript:x",
            "/docs/../up", "/docs/print/1", "mailto:a@b.c"),
        "/docs/in": page("deep"), "/docs/deep": page("deeper"), "/docs/deeper": page(), "/docs/print/1": page(),
    }  # fmt: skip
    changes = await listed(crawl_of(site, depth=2, exclude=["*/print/*"]))
    assert short(site, changes, SourceItem) == ["/docs/", "/docs/in", "/docs/deep"] and len(changes) == 3
    assert set(site.times()) == {"/robots.txt", "/docs/", "/docs/in", "/docs/deep"}
    wide = await listed(crawl_of(site, within=[site.url + "/"], depth=1))
    assert short(site, wide, SkippedItem) == ["/outside", "/up"]


async def test_a_limit_of_pages_is_said_and_nothing_is_called_gone(site):
    site.pages = {"/docs/": page(*(f"p{n}" for n in range(10)))} | {f"/docs/p{n}": page() for n in range(10)}
    changes = await listed(crawl_of(site, max_pages=4))
    assert len(taken(changes)) == 4 and isinstance(changes[-1], Partial)
    assert isinstance((await listed(crawl_of(site, max_pages=11)))[-1], SourceItem)


async def test_an_endless_site_ends(site):
    class Endless(dict):
        def get(self, path, default):
            return default if path == "/robots.txt" else page(path + "x", path + "y")

    site.pages = Endless()
    assert len(taken(await listed(crawl_of(site, max_pages=20, depth=100)))) == 20


async def test_redirects_and_canonical_links_name_a_page_once(site):
    site.pages = {
        "/docs/": page("old", "new", "copy", "away", "one", "cross"),
        "/docs/old": Page(status=301, headers={"location": "/docs/new"}), "/docs/new": page(),
        "/docs/copy": page(head='<link rel="canonical" href="/docs/original">'), "/docs/original": page(),
        "/docs/away": Page(status=302, headers={"location": "/outside"}), "/outside": page(),
        "/docs/one": page("two", head='<link rel=canonical href="two">'), "/docs/two": page(head='<link rel=canonical href="one">'),
        "/docs/cross": page(head='<link rel=canonical href="http://other.test/">'),
    }  # fmt: skip
    changes = await listed(crawl_of(site))
    assert sorted(short(site, changes, SourceItem)) == [
        "/docs/",
        "/docs/cross",
        "/docs/new",
        "/docs/original",
        "/docs/two",
    ]
    assert {s.external_id.removeprefix(site.url) for s in skipped(changes).values() if s.gone} == {
        "/docs/old",
        "/docs/copy",
        "/docs/away",
        "/docs/one",
    }


async def test_what_pages_say_to_robots_is_heeded(site):
    site.pages = {
        "/docs/": page("noindex", "nofollow", "header", "secret") + '<a rel="external nofollow" href="unlinked">x</a>',
        "/docs/noindex": page("behind", head='<meta name="robots" content="noindex">'),
        "/docs/nofollow": page("unlinked", head='<meta content="NOFOLLOW" name="bascule">'),
        "/docs/header": Page(body=b"x", headers={"x-robots-tag": "none"}),
        "/docs/behind": page(), "/docs/unlinked": page(), "/docs/secret": page(),
        "/robots.txt": Page(body=b"User-agent: bascule\nDisallow: /docs/secret\nCrawl-delay: 0.001", media_type="text/plain"),
    }  # fmt: skip
    changes = await listed(crawl_of(site))
    assert short(site, changes, SourceItem) == ["/docs/", "/docs/nofollow", "/docs/behind"]
    assert all(item.gone for item in skipped(changes).values()) and site.times()["/docs/secret"] == 0
    assert len(taken(await listed(crawl_of(site, robots=False)))) == 7


async def test_files_are_asked_for_again_only_when_changed_and_pages_for_their_links(site):
    site.pages = {
        "/docs/": page("leaf", "x.txt"),
        "/docs/x.txt": Page(body=b"text", media_type="text/plain"),
        "/docs/leaf": page(),
    }
    known = known_from(await listed(crawl_of(site, depth=1)))
    again = await listed(crawl_of(site, depth=1), known)
    assert short(site, again, SourceItem) == ["/docs/"] and short(site, again, UnchangedItem) == [
        "/docs/leaf",
        "/docs/x.txt",
    ]


async def test_a_start_page_that_fails_stops_the_run_and_an_inner_one_makes_it_partial(site):
    site.pages = {"/docs/": page("a"), "/docs/a": Page(status=500)}
    assert isinstance((await listed(crawl_of(site)))[-1], Partial)
    site.pages["/docs/"] = Page(status=500)
    with pytest.raises(StorageError):
        await listed(crawl_of(site))


def facts(text, header=""):
    return read_page(parse_url("https://x.test/d/"), text, header, "bascule")


def test_links_are_read_as_a_browser_would():
    text = """<base href="/base/"><A HREF=one>x</a><a class='b' href='two?a=1&amp;b=2#f'>x</a><area href=" three ">
    <!-- <a href="comment">x</a> --><script>"<a href='script'>"</script><style><a href="style"></style>
    <a href="java
script:x">x</a><a href="#here">x</a><a href="one">again</a><a name="none">x</a><link rel="stylesheet" href="s.css">"""
    assert [link.target for link in facts(text).links] == ["/base/one", "/base/two?a=1&b=2", "/base/three"]


@pytest.mark.parametrize(
    "text",
    [
        "<a " * 300_000,
        "<!--" * 300_000,
        "<script>" * 200_000,
        "<a href='" + "x" * 1_000_000,
        "<title>" + "</titl" * 300_000,
    ],
)
def test_a_page_made_to_be_slow_is_read_in_time(text):
    import time

    started_s = time.process_time()
    assert facts(text).links == ()
    assert time.process_time() - started_s < 2


@pytest.mark.parametrize(
    ("header", "noindex"),
    [("noindex", True), ("NONE", True), ("nofollow, noindex", True), ("otherbot: noindex", False),
     ("bascule: noindex", True),
     ("otherbot: nofollow, bascule: noindex", True), ("unavailable_after: 25 Jun 2030, noindex", True),
     ("", False), ("all", False)],
)  # fmt: skip
def test_the_robots_header_is_read_by_whom_it_is_for(header, noindex):
    assert facts("", header).noindex is noindex


ROBOTS = """
# comment
User-agent: Googlebot
Disallow: /

User-agent: bascule/2.0
User-agent: other
Disallow: /private
Allow: /private/open$
Allow: /p
Disallow: /*.pdf$
Disallow: /a*b*c
Disallow: /%7ejoe/%c3%bc
Crawl-delay: 3

User-agent: *
Disallow: /
"""


@pytest.mark.parametrize(
    ("target", "allowed"),
    [("/", True), ("/private/x", False), ("/private/open", True), ("/private/open/x", False), ("/public", True), ("/x.pdf", False),
     ("/x.pdf?y", True), ("/aXbXc", False), ("/acb", True), ("/~joe/ü", False), ("/PRIVATE", True)],
)  # fmt: skip
def test_robots_rules_go_by_the_longest_match(target, allowed):
    assert Robots(ROBOTS, "Bascule/1.0 (+https://x.test)").allows(parse_url("https://x.test" + target)) is allowed


def test_robots_groups_are_ours_or_everyones():
    assert Robots(ROBOTS, "bascule").delay_s == 3
    assert not Robots(ROBOTS, "unnamed").allows(parse_url("https://x.test/public"))
    for text in (
        "",
        "User-agent: *\nDisallow:\n",
        "Disallow: /\n",
        "\ufeffUser-agent: x\nDisallow: /\nCrawl-delay: inf",
        "\0<html>",
    ):
        assert Robots(text, "bascule").allows(parse_url("https://x.test/a")) and Robots(text, "bascule").delay_s == 0


def test_robots_patterns_made_to_be_slow_are_matched_in_time():
    robots = Robots("User-agent: *\n" + ("Disallow: /" + "*a" * 2000 + "b$\n") * 20, "bascule")
    assert robots.allows(parse_url("https://x.test/" + "a" * 7000))
