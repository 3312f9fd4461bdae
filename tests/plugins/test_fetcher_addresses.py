"""Where a fetch may lead: every way to a private address is closed, and none to a public one."""

import json
from pathlib import Path

import pytest

from bascule.core.errors import IngestError
from bascule.plugins.fetchers._exchange import dial
from bascule.plugins.fetchers.guarded import GuardedFetcher, Settings
from bascule.testing.site import Page, running_site

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "security" / "ssrf_urls.jsonl"
PUBLIC = "93.184.215.14"


class Net:
    """An internet of one site: names resolve as told (the last answer again and again),
    every address is this site, and what
    was connected to is on record."""

    def __init__(self, site, answers=None):
        self.site, self.answers, self.dialled, self.resolved = site, list(answers or [[PUBLIC]]), [], []

    async def resolve(self, host, port):
        self.resolved.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def dial(self, address, port, context, name):
        self.dialled.append(address)
        host, _, at = self.site.authority.rpartition(":")
        return await dial(host, int(at), None, name)

    def fetcher(self, **settings):
        return GuardedFetcher(Settings(**settings), resolve=self.resolve, dial=self.dial)


def redirect(to, status=302):
    return Page(status=status, headers={"location": to})


async def refused(fetcher, url):
    with pytest.raises(IngestError) as caught:
        await fetcher.fetch(url, limit_bytes=1000)
    return caught.value.reason


async def test_a_public_site_is_fetched_by_its_checked_address_under_its_own_name():
    async with running_site({"/a?b=1": "hello"}) as site:
        net = Net(site)
        found = await net.fetcher().fetch("http://public.test/a?b=1", limit_bytes=1000)
        assert (found.status, found.body, found.url, found.media_type) == (
            200,
            b"hello",
            "http://public.test/a?b=1",
            "text/html",
        )
        assert (net.dialled, net.resolved) == ([PUBLIC], ["public.test"])
        assert site.asked[0].headers["host"] == "public.test"


async def test_a_name_that_changes_its_mind_is_resolved_once():
    async with running_site({"/": "public"}) as site:
        net = Net(site, [[PUBLIC], ["10.0.0.1"]])
        assert (await net.fetcher().fetch("http://rebind.test/", limit_bytes=99)).body == b"public"
        assert net.dialled == [PUBLIC]
        assert await refused(net.fetcher(), "http://rebind.test/") == "address_refused" and net.dialled == [PUBLIC]


async def test_a_name_with_one_private_address_among_public_ones_is_refused():
    async with running_site({"/": "x"}) as site:
        for answers in ([PUBLIC, "10.0.0.1"], ["::ffff:127.0.0.1"], ["fe80::1%2"], ["not an address"]):
            net = Net(site, [answers])
            assert await refused(net.fetcher(), "http://public.test/") == "address_refused" and net.dialled == []
        net = Net(site, [[]])
        assert await refused(net.fetcher(), "http://public.test/") == "unreachable"


async def test_every_redirect_is_checked_from_the_start():
    hops = [
        "http://127.0.0.1/", "http://169.254.169.254/latest", "//10.0.0.1/", "http://localhost/",
        "file:///etc/passwd", "gopher://x.test/",
        "http://public.test:22/", "http://user@public.test/", "/\\10.0.0.1/", "http://0x7f.1/",
        "http://[::1]/", "data:text/html,x",
    ]  # fmt: skip
    async with running_site() as site:
        for status, hop in zip([301, 302, 303, 307, 308] * 3, hops, strict=False):
            site.pages = {"/": redirect("/second", 301), "/second": redirect(hop, status)}
            net = Net(site)
            assert await refused(net.fetcher(), "http://public.test/") == "address_refused", hop
            assert net.dialled == [PUBLIC, PUBLIC]


async def test_a_redirect_resolves_its_name_anew_and_checks_it():
    async with running_site({"/": redirect("http://other.test/x")}) as site:
        net = Net(site, [[PUBLIC], ["192.168.0.1"]])
        assert await refused(net.fetcher(), "http://public.test/") == "address_refused"
        assert net.resolved == ["public.test", "other.test"] and net.dialled == [PUBLIC]


async def test_redirects_are_followed_to_a_limit():
    async with running_site(
        {"/": redirect("a"), "/a": redirect("http://public.test/b?x#y"), "/b?x": "end", "/o": redirect("/o")}
    ) as site:
        found = await Net(site).fetcher().fetch("http://public.test/", limit_bytes=99)
        assert (found.body, found.url) == (b"end", "http://public.test/b?x")
        assert await refused(Net(site).fetcher(max_redirects=4), "http://public.test/o") == "too_many_redirects"
        assert site.times()["/o"] == 5


async def test_credentials_stay_with_the_origin_they_were_given_for():
    async with running_site(
        {
            "/": redirect("/own"),
            "/own": redirect("http://other.test/far"),
            "/far": redirect("http://public.test/b"),
            "/b": "",
        }
    ) as site:
        await (
            Net(site).fetcher().fetch("http://public.test/", limit_bytes=99, headers={"authorization": "Bearer s3cret"})
        )
        sent = [(asked.path, asked.headers.get("authorization")) for asked in site.asked]
        assert sent[:3] == [("/", "Bearer s3cret"), ("/own", "Bearer s3cret"), ("/far", None)]


async def test_proxies_of_the_environment_are_not_used(monkeypatch):
    async with running_site({"/": "direct"}) as site:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9/")
        assert (await site.fetcher().fetch(site.url, limit_bytes=99)).body == b"direct"


async def test_loopback_is_closed_unless_the_operator_lists_it():
    async with running_site({"/": "inside"}) as site:
        port = site.authority.rpartition(":")[2]
        for url in (site.url, f"http://localhost:{port}/", f"http://[::ffff:127.0.0.1]:{port}/"):
            assert await refused(GuardedFetcher(Settings(ports=(int(port),))), url) == "address_refused"
        assert site.asked == []
        assert (await site.fetcher().fetch(site.url, limit_bytes=99)).body == b"inside"


INSIDE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.170.2",
    "100.64.0.1", "100.100.100.200", "192.0.0.192", "168.63.129.16", "192.0.2.1", "198.51.100.1",
    "203.0.113.1", "198.18.0.1", "192.88.99.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255",
]  # fmt: skip


def spellings(address):
    """URLs that some parser or resolver would take to this address."""
    a, b, c, d = parts = [int(part) for part in address.split(".")]
    number, tail = int.from_bytes(bytes(parts)), f"{c:02x}{d:02x}"
    hosts = [
        address, address + ".", f"{number}", f"{number:#x}", f"0{number:o}", f"{a}.{b}.{c * 256 + d}",
        f"{a}.{number & 0xFFFFFF}",
        ".".join(f"0{part:o}" for part in parts), ".".join(f"{part:#x}" for part in parts),
        ".".join(f"{part:012o}" for part in parts),
        f"{a + 256}.{b}.{c}.{d}", "".join(f"%{ord(char):02x}" for char in address), address.replace(".", "。"),
        address.replace(".", "．"),
        "".join(chr(0xFF10 + int(char)) if char.isdigit() else char for char in address),
        "".join((chr(0x245F + int(char)) if char != "0" else "⓪") if char.isdigit() else char for char in address),
        f"[::ffff:{address}]", f"[::ffff:{a:02x}{b:02x}:{tail}]", f"[::{address}]", f"[64:ff9b::{address}]",
        f"[64:ff9b:1::{address}]",
        f"[2002:{a:02x}{b:02x}:{tail}::]", f"[2001:0:{a:02x}{b:02x}:{tail}::1]", f"[::ffff:0:{address}]",
        f"[fe80::5efe:{address}]",
        f"[::ffff:{address}%25eth0]", f"{address}%00.example.com", f"{address}\t", f"{address}\u200b",
        f"{address}#@example.com",
        f"{address}\\@example.com", f"example.com\\@{address}", f"example.com@{address}", f"user:pw@{address}",
        f"@{address}",
        f"{address}:443", f"{address}:0", f"{address}:", f"{address}:22", f"example.com:80@{address}",
        f"[{address}]", f"{address}/@example.com",
    ]  # fmt: skip
    urls = [f"{scheme}{host}/" for host in hosts for scheme in ("http://", "HTTPS://")]
    return [
        *urls,
        f"//{address}/",
        f"http:/{address}/",
        f"http:{address}",
        f"http:///{address}/",
        f"http://\n{address}/",
        f"http:\\\\{address}/",
    ]


@pytest.mark.parametrize("address", INSIDE)
async def test_no_spelling_of_a_private_address_is_resolved_or_reached(address):
    async with running_site() as site:
        net = Net(site)
        for url in spellings(address):
            assert await refused(net.fetcher(), url) == "address_refused", url
        assert (net.resolved, net.dialled) == ([], [])


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com", "http://example.com/", "https://example.com:443/a?b=c#d",
        "http://example.com:443/", "https://EXAMPLE.com./",
        "https://10.example.com/", "https://127.0.0.1.example.com/", "https://0x7f.example.com/",
        "https://localhost.example.com/",
        "https://metadata.example.com/", "https://local.host/", "https://internal.example/",
        "https://bücher.example/", "https://пример.example/",
        "https://xn--e1afmkfd.example/", "https://a-b--c.example/", "https://_dmarc.example.com/",
        "https://1.1.1.1/", "https://9.9.9.9:443/",
        "https://172.15.255.255/", "https://172.32.0.0/", "https://100.63.255.255/", "https://100.128.0.0/",
        "https://169.253.0.1/",
        "https://192.167.255.255/", "https://192.169.0.0/", "https://198.17.255.255/", "https://198.20.0.0/",
        "https://223.255.255.255/",
        "https://[2606:4700:4700::1111]/", "https://[2001:4860:4860::8888]:443/",
        "https://example.com/?url=http://127.0.0.1/",
        "https://example.com/@127.0.0.1/", "https://example.com/169.254.169.254", "https://example.com/a%00b",
        "https://example.com/ü?q=日本#ü",
        "https://example.com/" + "a" * 4000, "https://" + ".".join(["a" * 60] * 4) + ".com/",
    ],
)  # fmt: skip
async def test_public_urls_are_not_refused(url):
    async with running_site() as site:
        site.pages = Hops([])
        net = Net(site)
        assert (await net.fetcher().fetch(url, limit_bytes=99)).body == b"reached" and len(net.dialled) == 1


def script(row):
    """The row's redirects as pages: each hop leads to the next."""
    hops = row.get("redirects") or []
    return [redirect(hop) for hop in hops]


class Hops:
    """A site whose n-th answer is the n-th hop, whatever was asked."""

    def __init__(self, pages):
        self.left = list(pages)

    def get(self, path, default):
        return self.left.pop(0) if self.left else Page(body=b"reached")


async def test_the_published_list_is_blocked_whole_and_nothing_public_is():
    if not SAMPLES.is_file():
        pytest.skip("shared/data/security is not here: the published URLs are not tried")
    rows = [json.loads(line) for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
    wrong, rebinding = [], 0
    async with running_site() as site:
        for row in rows:
            site.pages = Hops(script(row))
            net = Net(site, row.get("resolve"))
            try:
                body = (await net.fetcher().fetch(row["url"], limit_bytes=1000)).body
            except IngestError:
                body = None
            inside = [address for address in net.dialled if address != PUBLIC]
            if "rebinding" in row["why"]:  # resolved once, it is a public site like any other
                rebinding += 1
                good = not inside and len(net.resolved) == 1
            else:
                good = not inside and (body is None) == (row["expect"] == "block")
            if not good:
                wrong.append((row["id"], row["url"], row["why"], net.dialled))
    assert wrong == []
    assert len(rows) > 50 and rebinding and {row["expect"] for row in rows} == {"block", "allow"}
