"""What a site may send: bounded in size, time and kind, packed or not."""

import asyncio
import gzip
import ssl
import subprocess
import zlib

import pytest

from bascule.core.errors import IngestError
from bascule.core.resources import Resources
from bascule.plugins.fetchers.guarded import GuardedFetcher, Settings, connect
from bascule.testing.site import Page, Site, running_site


async def fails(site, path="/", *, limit_bytes=1000, types=(), headers={}, **options):  # noqa: B006
    with pytest.raises(IngestError) as caught:
        await site.fetcher(**options).fetch(site.url + path, limit_bytes=limit_bytes, types=types, headers=headers)
    assert "127.0.0.1" not in caught.value.message
    return caught.value.reason


def packed(data, encoding="gzip", **headers):
    return Page(body=data, headers={"content-encoding": encoding, **headers})


async def test_a_page_at_the_limit_is_taken_and_one_over_it_is_not():
    async with running_site(
        {"/": "x" * 1000, "/over": "x" * 1001, "/open": Page(raw=b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001)}
    ) as site:
        assert len((await site.fetcher().fetch(site.url, limit_bytes=1000)).body) == 1000
        assert await fails(site, "/over") == "too_large" and await fails(site, "/open") == "too_large"


async def test_an_endless_page_ends_at_the_limit():
    async with running_site({"/": Page(body=b"x" * 10_000, endless=True)}) as site:
        assert await fails(site, limit_bytes=1_000_000) == "too_large"


async def test_a_page_that_never_comes_ends_at_the_time_limit():
    async with running_site(
        {
            "/": Page(gate=asyncio.Event()),
            "/drip": Page(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", gate=None),
        }
    ) as site:
        assert await fails(site, timeout_s=0.1) == "too_slow"
        site.pages["/"].gate.set()
        assert await fails(site, "/drip") == "unreachable"


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_packed_pages_are_unpacked(pack):
    encoding = "gzip" if pack is gzip.compress else "deflate"
    async with running_site({"/": packed(pack(b"hello " * 100), encoding)}) as site:
        assert (await site.fetcher().fetch(site.url, limit_bytes=1000)).body == b"hello " * 100


async def test_a_bomb_ends_at_the_limit():
    async with running_site({"/": packed(gzip.compress(b"\0" * 50_000_000))}) as site:
        assert await fails(site, limit_bytes=100_000) == "too_large"


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (packed(b"not gzip"), "invalid_answer"),
        (packed(gzip.compress(b"cut short" * 99)[:-9]), "invalid_answer"),
        (packed(b"x", "br"), "invalid_answer"),
        (packed(gzip.compress(gzip.compress(b"x")), "gzip, gzip"), "invalid_answer"),
        (Page(raw=b"SSH-2.0-OpenSSH_9.2\r\n"), "invalid_answer"),
        (Page(raw=b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"), "invalid_answer"),
        (Page(raw=b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n"), "invalid_answer"),
        (Page(raw=b"HTTP/1.1 200 OK\r\na: " + b"b" * 200_000), "invalid_answer"),
        (Page(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"), "unreachable"),
        (Page(raw=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"), "unreachable"),
        (Page(raw=b""), "unreachable"),
    ],
)
async def test_an_answer_that_is_not_whole_and_proper_is_refused(page, reason):
    async with running_site({"/": page}) as site:
        assert await fails(site) == reason


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/\r\n\r\nmore",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok and more",
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_every_proper_way_to_end_a_page_is_understood(raw):
    async with running_site({"/": Page(raw=raw)}) as site:
        assert (await site.fetcher().fetch(site.url, limit_bytes=99)).body == b"ok"


@pytest.mark.parametrize("status", [204, 304, 404, 410, 429, 500, 503])
async def test_other_statuses_come_without_their_body(status):
    async with running_site({"/": Page(status=status, body=b"", headers={"retry-after": "7"})}) as site:
        found = await site.fetcher().fetch(site.url, limit_bytes=10)
        assert (found.status, found.body, found.headers["retry-after"]) == (status, b"", "7")


async def test_only_wanted_kinds_are_taken():
    async with running_site(
        {"/": "page", "/v": Page(media_type="video/mp4"), "/j": Page(media_type="Text/JSON; charset=x")}
    ) as site:
        for path, types, good in [
            ("/", {"text/html"}, True),
            ("/j", {"text/*"}, True),
            ("/v", {"text/*"}, False),
            ("/", {"application/pdf"}, False),
        ]:
            if good:
                await site.fetcher().fetch(site.url + path, limit_bytes=99, types=types)
            else:
                assert await fails(site, path, types=types) == "wrong_type"


async def test_a_header_cannot_become_two():
    async with running_site({"/": "x"}) as site:
        for value in ("a\r\nx: y", "a\0", "\u4e2d"):
            assert await fails(site, headers={"x": value}) == "invalid_answer"
        assert site.asked == []


async def test_a_host_that_does_not_answer_is_unreachable_and_its_address_is_not_told():
    async with running_site() as site:
        fetcher = site.fetcher()
    with pytest.raises(IngestError) as caught:
        await fetcher.fetch(site.url, limit_bytes=9)
    assert (caught.value.reason, caught.value.transient) == ("unreachable", True) and "127" not in caught.value.message


async def test_the_next_address_is_tried_when_the_first_does_not_answer():
    async with running_site({"/": "x"}) as site:
        port = int(site.authority.rpartition(":")[2])

        async def resolve(host, port):
            return ["127.0.0.2", "127.0.0.1"]

        fetcher = GuardedFetcher(Settings(allow=("site.test",), ports=(port,)), resolve=resolve)
        assert (await fetcher.fetch(f"http://site.test:{port}/", limit_bytes=9)).body == b"x"


async def test_the_certificate_must_be_for_the_name():
    names = []

    async def dial(address, port, context, name):
        names.append((address, name, context.verify_mode, context.check_hostname))
        raise ssl.SSLCertVerificationError

    async def resolve(host, port):
        return ["93.184.215.14"]

    fetcher = GuardedFetcher(Settings(), resolve=resolve, dial=dial)
    with pytest.raises(IngestError, match="certificate"):
        await fetcher.fetch("https://example.com/", limit_bytes=9)
    assert names == [("93.184.215.14", "example.com", ssl.CERT_REQUIRED, True)]


async def test_it_is_opened_from_its_settings(tmp_path):
    resources = Resources(http=None, data=tmp_path, models=tmp_path, secret=str)
    async with running_site({"/": "x"}) as site:
        async with connect(Settings(allow=(site.authority,)), resources) as fetcher:
            await fetcher.fetch(site.url, limit_bytes=9)
        assert site.asked[0].headers["user-agent"] == "bascule"


@pytest.fixture
def certificate(tmp_path):
    """(certificate, key) of site.test, signed by itself."""
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=site.test",
         "-addext", "subjectAltName=DNS:site.test", "-keyout", str(files[1]), "-out", str(files[0])],
        check=True, capture_output=True,
    )  # fmt: skip
    return files


async def test_a_real_handshake_checks_the_name_that_was_asked_for(certificate, monkeypatch):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    named = []
    tls.sni_callback = lambda connection, name, context: named.append(name)
    site = Site(pages={"/": "over TLS"})
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]

    async def resolve(host, port):
        return ["127.0.0.1"]

    async def get(name):
        fetcher = GuardedFetcher(Settings(allow=(f"*.test:{port}",)), resolve=resolve)
        return await fetcher.fetch(f"https://{name}:{port}/", limit_bytes=99)

    async with server:
        with pytest.raises(IngestError, match="certificate"):
            await get("site.test")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert (await get("site.test")).body == b"over TLS" and named[-1] == "site.test"
        with pytest.raises(IngestError, match="certificate"):
            await get("other.test")
    assert [asked.headers["host"] for asked in site.asked] == [f"site.test:{port}"]
