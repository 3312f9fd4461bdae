"""Pages, sitemaps, links and feeds of a real site on loopback, as connectors see them."""

import asyncio
import gzip

import pytest

from bascule.core.connectors import KnownItem, Partial, SkippedItem, SourceItem, UnchangedItem
from bascule.core.errors import ConfigError, StorageError
from bascule.core.rights import Rights
from bascule.plugins.connectors import crawl, feed, sitemap, url
from bascule.plugins.fetchers.guarded import GuardedFetcher, Settings
from bascule.testing.connector_contract import check_connector
from bascule.testing.site import Page, running_site, table_of


@pytest.fixture
async def site():
    async with running_site(table_of(["/", "/a", "/b"])) as site:
        yield site


def known_from(changes):
    return {
        change.external_id: KnownItem(document_id=change.external_id, metadata=change.metadata, rights=Rights())
        for change in changes
        if isinstance(change, SourceItem)
    }


async def listed(connector, known=None):
    return [change async for change in connector.changes(known or {})]


def taken(changes):
    return {change.external_id: change.data.decode() for change in changes if isinstance(change, SourceItem)}


def skipped(changes):
    return {change.external_id: change for change in changes if isinstance(change, SkippedItem)}


def urls_of(site, *paths, **settings):
    return url.UrlConnector(site.fetcher(), url.Settings(urls=[site.url + path for path in paths], **settings))


def sitemap_of(site, path="/sitemap.xml", **settings):
    return sitemap.SitemapConnector(site.fetcher(), sitemap.Settings(url=site.url + path, **settings))


def listing(site, *paths, lastmod=""):
    stamp = f"<lastmod>{lastmod}</lastmod>" if lastmod else ""
    rows = "".join(f"<url><loc>{path if '://' in path else site.url + path}</loc>{stamp}</url>" for path in paths)
    return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{rows}</urlset>'


async def test_urls_keep_the_contract(site):
    site.pages["/film"] = Page(media_type="video/mp4")
    await check_connector(
        lambda: urls_of(site, "/b", "/a", "/film", "/b#again"), expected=[site.url + "/b", site.url + "/a"]
    )


async def test_a_page_brings_its_kind_its_name_and_where_it_was(site):
    site.pages["/Gr%C3%B6%C3%9Fe"] = Page(body=b"x", headers={"last-modified": "Tue, 15 Nov 1994 12:45:26 GMT"})
    (item,) = await listed(urls_of(site, "/Größe"))
    assert (item.name, item.media_type, item.external_id) == ("Größe.html", "text/html", site.url + "/Gr%C3%B6%C3%9Fe")
    assert item.metadata["url"] == item.external_id and item.metadata["modified_at"] == "1994-11-15T12:45:26+00:00"


async def test_what_has_not_changed_is_not_sent_again(site):
    first = await listed(urls_of(site, "/a", "/b"))
    site.pages["/b"] = "changed"
    second = await listed(urls_of(site, "/a", "/b"), known_from(first))
    assert second[0] == UnchangedItem(external_id=site.url + "/a") and taken(second) == {site.url + "/b": "changed"}
    known = {
        name: KnownItem(document_id="1", metadata=k.metadata, rights=k.rights, failed=True)
        for name, k in known_from(first).items()
    }
    assert len(taken(await listed(urls_of(site, "/a", "/b"), known))) == 2, "what failed is wanted again"


async def test_a_date_serves_where_there_is_no_tag(site):
    site.tags = False
    site.pages["/a"] = Page(body=b"x", headers={"last-modified": "Tue, 15 Nov 1994 12:45:26 GMT"})
    await listed(urls_of(site, "/a"), known_from(await listed(urls_of(site, "/a"))))
    assert site.asked[-1].headers["if-modified-since"] == "Tue, 15 Nov 1994 12:45:26 GMT"


async def test_only_a_site_that_says_so_makes_a_page_gone(site):
    for status in (403, 404, 410, 418, 500, 503):
        site.pages[f"/{status}"] = Page(status=status)
    site.pages["/inside"] = Page(status=302, headers={"location": "http://10.0.0.1/"})
    site.pages["/slow"] = Page(gate=asyncio.Event())
    site.pages["/endless"] = Page(body=b"x" * 9999, endless=True)
    site.pages["/empty"] = " "
    paths = ["/403", "/404", "/410", "/418", "/500", "/503", "/inside", "/slow", "/endless", "/empty", "/a"]
    connector = url.UrlConnector(
        site.fetcher(timeout_s=0.2), url.Settings(urls=[site.url + p for p in paths], max_page_bytes=50_000)
    )
    changes = await listed(connector)
    assert [c.external_id.removeprefix(site.url) for c in skipped(changes).values() if c.gone] == ["/404", "/410"]
    assert len(skipped(changes)) == 10 and list(taken(changes)) == [site.url + "/a"]
    site.pages["/slow"].gate.set()


async def test_a_site_that_fails_again_and_again_is_left_alone(site):
    site.all_fail = 500
    changes = await listed(urls_of(site, *(f"/{n}" for n in range(30))))
    assert len(changes) == 30 and not any(change.gone for change in changes) and len(site.asked) == 10


async def test_a_busy_site_is_given_the_time_it_asks_for(site):
    site.pages["/busy"] = Page(status=503, headers={"retry-after": "0"})
    await listed(urls_of(site, "/busy"))
    assert site.times()["/busy"] == 2


async def test_the_operators_headers_go_to_the_sources_own_host_alone(site):
    async with running_site({"/away": "x"}) as other:
        site.pages["/go"] = Page(status=302, headers={"location": other.url + "/away"})
        settings = url.Settings(urls=[site.url + "/go"], headers={"Authorization": "env:X"})
        await listed(url.UrlConnector(site.fetcher(other.authority), settings, {"authorization": "secret"}))
        assert site.asked[0].headers["authorization"] == "secret" and "authorization" not in other.asked[0].headers


@pytest.mark.parametrize(
    ("data", "content_type", "text"),
    [
        ("Größe".encode("latin-1"), "text/html; charset=ISO-8859-1", "\ufeffGröße"),
        ("Größe".encode("latin-1"), "text/html; charset=utf-8", "\ufeffGröße"),
        ("Größe".encode(), "text/html; charset=ISO-8859-1", "Größe"),
        ("“x”".encode("cp1252"), "text/html", "\ufeff“x”"),
        (b'<meta charset="koi8-r">' + "мир".encode("koi8-r"), "text/html", '\ufeff<meta charset="koi8-r">мир'),
        ("日本".encode("shift_jis"), "text/plain; charset=Shift_JIS", "\ufeff日本"),
        ("日本".encode("iso2022_jp"), "text/plain; charset=ISO-2022-JP", "\ufeff日本"),
        ("Größe".encode("utf-16"), "text/plain", "\ufeffGröße"),
        ("x".encode("utf-16-le"), "text/plain; charset=utf-16le", "\ufeffx"),
        (b"plain", "text/html; charset=nonsense", "plain"),
        (b"+ADw-script+AD4-", "text/html; charset=utf-7", "+ADw-script+AD4-"),
        (b"\x81\x8d", "text/html; charset=base64", "\ufeff\ufffd\ufffd"),
    ],
)
async def test_pages_arrive_in_utf8_whatever_the_site_says_of_them(site, data, content_type, text):
    site.pages["/a"] = Page(body=data, media_type=content_type)
    (item,) = await listed(urls_of(site, "/a"))
    assert item.data.decode() == text


async def test_a_sitemap_keeps_the_contract(site):
    site.pages["/sitemap.xml"] = listing(site, "/b", "/a", "/a", "/gone", "http://other.test/x", "not a url\x7f")
    await check_connector(lambda: sitemap_of(site), expected=[site.url + "/b", site.url + "/a"])


async def test_sitemaps_come_as_indexes_packed_and_as_plain_lists(site):
    inner = "".join(
        f"<sitemap><loc>{site.url}{path}</loc></sitemap>" for path in ("/one.xml.gz", "/two.txt", "/missing.xml")
    )
    site.pages |= {
        "/sitemap.xml": f"<sitemapindex>{inner}</sitemapindex>",
        "/one.xml.gz": Page(body=gzip.compress(listing(site, "/a").encode()), media_type="application/gzip"),
        "/two.txt": Page(body=f"\ufeff{site.url}/b\n{site.url}/\n".encode(), media_type="text/plain"),
    }
    changes = await listed(sitemap_of(site))
    assert list(taken(changes)) == [site.url + "/a", site.url + "/b", site.url + "/"]
    assert ["/missing.xml" in change.reason for change in changes if isinstance(change, Partial)] == [True]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"<html></html>", b"not xml", b"\x1f\x8bcut", gzip.compress(b"\0" * 60_000_000),
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><urlset><url><loc>&b;</loc></url></urlset>',
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x SYSTEM "file:///etc/passwd"><urlset/>'.encode("utf-16"),
        b"<urlset>" + b"<a>" * 100 + b"</a>" * 100 + b"</urlset>",
    ],
)  # fmt: skip
async def test_a_sitemap_that_is_none_stops_the_run(site, body):
    site.pages["/sitemap.xml"] = Page(body=body, media_type="application/xml")
    with pytest.raises(StorageError):
        await listed(sitemap_of(site))


async def test_a_sitemap_is_bounded_and_says_so(site):
    site.pages["/sitemap.xml"] = listing(site, "/a", "/b", "/")
    changes = await listed(sitemap_of(site, max_pages=2))
    assert len(taken(changes)) == 2 and "max_pages" in changes[-1].reason
    assert list(taken(await listed(sitemap_of(site, within=[site.url + "/a"])))) == [site.url + "/a"]


async def test_lastmod_saves_asking_where_the_operator_trusts_it(site):
    site.pages["/sitemap.xml"] = listing(site, "/a", lastmod="2026-01-01")
    known = known_from(await listed(sitemap_of(site)))
    assert await listed(sitemap_of(site, trust_lastmod=True), known) == [UnchangedItem(external_id=site.url + "/a")]
    assert site.times()["/a"] == 1
    site.pages["/sitemap.xml"] = listing(site, "/a", lastmod="2026-01-02")
    await listed(sitemap_of(site, trust_lastmod=True), known)
    assert site.times()["/a"] == 2


async def test_robots_txt_and_noindex_are_heeded_unless_told_otherwise(site):
    site.pages |= {
        "/sitemap.xml": listing(site, "/a", "/b", "/c", "/d"),
        "/robots.txt": Page(body=b"User-agent: *\nDisallow: /b\n", media_type="text/plain"),
        "/c": '<meta name="ROBOTS" content="noindex, follow">c',
        "/d": Page(body=b"d", headers={"x-robots-tag": "otherbot: noindex"}),
    }
    changes = await listed(sitemap_of(site))
    assert list(taken(changes)) == [site.url + "/a", site.url + "/d"]
    assert {c.external_id for c in skipped(changes).values() if c.gone} == {site.url + "/b", site.url + "/c"}
    assert site.times()["/b"] == 0 and len(taken(await listed(sitemap_of(site, robots=False)))) == 4


async def test_a_robots_txt_that_cannot_be_had_stops_the_run(site):
    site.pages |= {"/sitemap.xml": listing(site, "/a"), "/robots.txt": Page(status=503)}
    with pytest.raises(StorageError, match=r"robots\.txt"):
        await listed(sitemap_of(site))
    assert site.times()["/a"] == 0


async def test_a_page_that_leads_to_another_host_is_not_taken_for_it(site):
    async def resolve(host, port):
        return ["127.0.0.1"]

    async with running_site({"/login": "Sign in, please."}) as other:
        own, far = (
            at.authority.replace("127.0.0.1", name) for at, name in ((site, "site.test"), (other, "other.test"))
        )
        site.pages["/sitemap.xml"] = listing(site, f"http://{own}/a", f"http://{own}/b")
        site.pages["/b"] = Page(status=302, headers={"location": f"http://{far}/login"})
        fetcher = GuardedFetcher(Settings(allow=(own, far)), resolve=resolve)
        connector = sitemap.SitemapConnector(fetcher, sitemap.Settings(url=f"http://{own}/sitemap.xml"))
        found = await listed(connector)
        assert list(taken(found)) == [f"http://{own}/a"] and len(other.asked) == 1
        (item,) = skipped(found).values()
        assert "another host" in item.reason and not item.gone


def rss(site, *entries):
    return Page(
        body=f'<rss version="2.0"><channel>{"".join(entries)}</channel></rss>'.encode(),
        media_type="application/rss+xml",
    )


def feed_of(site, **settings):
    return feed.FeedConnector(site.fetcher(), feed.Settings(url=site.url + "/feed", **settings))


async def test_a_feed_keeps_the_contract(site):
    items = [f"<item><title>{p}</title><link>{site.url}/{p}</link><pubDate>now</pubDate></item>" for p in "ba"]
    site.pages["/feed"] = rss(
        site, *items, "<item><title>no link</title></item>", "<item><link>http://other.test/</link></item>"
    )
    await check_connector(lambda: feed_of(site), expected=[site.url + "/b", site.url + "/a"])
    found = taken_items = await listed(feed_of(site))
    assert [item.metadata["feed_title"] for item in taken_items if isinstance(item, SourceItem)] == ["b", "a"] and len(
        found
    ) == 4


async def test_entries_that_have_left_the_feed_are_asked_for_again_and_kept(site):
    site.pages["/feed"] = rss(
        site, f"<item><link>{site.url}/a</link></item>", f"<item><link>{site.url}/b</link></item>"
    )
    known = known_from(await listed(feed_of(site)))
    site.pages["/feed"] = rss(site)
    assert {type(c) for c in await listed(feed_of(site), known)} == {UnchangedItem}
    del site.pages["/a"]
    assert [c.gone for c in skipped(await listed(feed_of(site), known)).values()] == [True]


async def test_texts_may_come_from_the_feed_itself(site):
    atom = f"""<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>urn:1</id><title>A &lt; B</title>
    <link rel="self" href="x"/><link href="{site.url}/a"/><updated>2026-01-01</updated>
    <content type="html">&lt;p&gt;Hello &amp;amp; more&lt;/p&gt;</content></entry>
    <entry><id>urn:2</id><title>T</title><summary>1 &lt; 2</summary></entry><entry><id>urn:3</id></entry></feed>"""
    site.pages["/feed"] = Page(body=atom.encode(), media_type="application/atom+xml")
    changes = await listed(feed_of(site, pages=False))
    pages = taken(changes)
    assert "<p>Hello &amp; more</p>" in pages["urn:1"] and "<title>A &lt; B</title>" in pages["urn:1"]
    assert "1 &lt; 2" in pages["urn:2"] and list(skipped(changes)) == ["urn:3"] and isinstance(changes[-1], Partial)
    assert changes[0].metadata["url"] == site.url + "/a" and changes[0].title == "A < B"


async def test_a_feed_that_is_none_stops_the_run(site):
    for page in (Page(status=500), "<html></html>", "<!DOCTYPE rss><rss><channel/></rss>"):
        site.pages["/feed"] = page
        with pytest.raises(StorageError):
            await listed(feed_of(site))


@pytest.mark.parametrize(
    "make",
    [
        lambda fetcher: url.UrlConnector(fetcher, url.Settings(urls=["file:///etc/passwd"])),
        lambda fetcher: sitemap.SitemapConnector(fetcher, sitemap.Settings(url="sitemap.xml")),
        lambda fetcher: feed.FeedConnector(fetcher, feed.Settings(url="http://user:pw@example.com/")),
        lambda fetcher: crawl.CrawlConnector(fetcher, crawl.Settings(start=["https://example.com/"], within=["x"])),
    ],
)
async def test_what_is_no_url_in_the_operators_file_is_named(site, make):
    with pytest.raises(ConfigError):
        make(site.fetcher())
