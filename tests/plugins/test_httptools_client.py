"""What our own HTTP client must prove besides the suite of all clients: reuse, framing, encodings, pools, TLS."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bascule.core.errors import ConfigError, UpstreamInvalid, UpstreamTimeout, UpstreamUnavailable
from bascule.plugins.http_clients.httptools import HttptoolsClient, Settings, connect

JSON = {"content-type": "application/json"}
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


@asynccontextmanager
async def host(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[int]]]:
    """A server whose `handle` is called for each connection with its number; the list has one entry for each."""
    seen: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(len(seen) + 1)
        try:
            await handle(reader, writer, seen[-1])
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://{'localhost' if tls else '127.0.0.1'}:{port}/v1", seen
    finally:
        server.close()


async def take(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(size)


def always(answer: bytes, *, close: bool = False) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            await take(reader)
            writer.write(answer)
            await writer.drain()
            if close:
                return

    return handle


@pytest.fixture
async def http() -> AsyncIterator[HttptoolsClient]:
    async with connect(Settings(pool_size=2)) as client:
        yield client


async def read(http: HttptoolsClient, url: str, body: bytes = b"{}", timeout_s: float = 5.0) -> bytes:
    reply = await http.post(url, JSON, body, timeout_s)
    try:
        return await reply.read(1_000_000)
    finally:
        await reply.aclose()


async def test_a_connection_is_used_again_and_a_pool_is_never_larger_than_it_may_be(http: HttptoolsClient) -> None:
    async with host(always(OK)) as (url, seen):
        assert await asyncio.gather(*(read(http, url) for _ in range(20))) == [b"ok"] * 20
        assert len(seen) == 2


async def test_the_request_is_sent_as_given_with_its_length_and_host(http: HttptoolsClient) -> None:
    got: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        got.append(await take(reader))
        writer.write(OK)

    async with host(handle) as (url, _):
        reply = await http.post(url + "/x y?q=1", {"X-Key": "v"}, b'{"a":1}', 5)
        assert await reply.read(10) == b"ok"
        head, _, body = got[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/x%20y?q=1 HTTP/1.1\r\nhost: 127.0.0.1:")
        assert b"x-key: v" in head and b"accept-encoding: identity" in head and body == b'{"a":1}'


async def test_a_kept_connection_that_its_host_has_closed_is_replaced_unseen(http: HttptoolsClient) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await take(reader)
        writer.write(OK)
        if number == 1:
            await take(reader)  # the second request on this connection gets no answer at all
            return
        await take(reader)

    async with host(handle) as (url, seen):
        assert [await read(http, url), await read(http, url)] == [b"ok", b"ok"]
        assert len(seen) == 2


async def test_a_connection_that_closes_without_any_answer_is_a_failure_and_not_tried_for_ever(
    http: HttptoolsClient,
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await take(reader)

    async with host(handle) as (url, seen):
        with pytest.raises(UpstreamUnavailable):
            await read(http, url)
        assert len(seen) == 1


async def test_bytes_that_nobody_asked_for_never_become_the_next_answer(http: HttptoolsClient) -> None:
    smuggled = OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
    async with host(always(smuggled)) as (url, seen):
        assert [await read(http, url) for _ in range(5)] == [b"ok"] * 5
        assert len(seen) == 5


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"h%d: v\r\n" % i for i in range(500)) + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_an_answer_that_is_cut_or_not_http_is_an_error_and_its_connection_is_not_used_again(
    http: HttptoolsClient, answer: bytes
) -> None:
    async with host(always(answer, close=True)) as (url, seen):
        for _ in range(2):
            with pytest.raises((UpstreamInvalid, UpstreamUnavailable)):
                await read(http, url)
        assert len(seen) == 2


async def test_interim_answers_are_passed_over(http: HttptoolsClient) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK
    async with host(always(interim)) as (url, seen):
        reply = await http.post(url, JSON, b"{}", 5)
        assert (reply.status, "link" in reply.headers, await reply.read(10)) == (200, False, b"ok")
        assert await read(http, url) == b"ok" and len(seen) == 1


async def test_a_body_without_a_length_ends_with_its_connection(http: HttptoolsClient) -> None:
    async with host(always(b"HTTP/1.1 200 OK\r\n\r\nall there is", close=True)) as (url, _):
        assert await read(http, url) == b"all there is"


async def test_an_encoding_that_was_not_asked_for_is_unpacked_within_the_readers_limit(http: HttptoolsClient) -> None:
    def packed(data: bytes) -> bytes:
        body = gzip.compress(data)
        return b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    async with host(always(packed(b"hello " * 100))) as (url, _):
        assert await read(http, url) == b"hello " * 100
    async with host(always(packed(b"\0" * 50_000_000))) as (url, _):
        with pytest.raises(UpstreamInvalid, match="more than"):
            await read(http, url)


async def test_who_waits_for_a_free_connection_waits_no_longer_than_it_may(http: HttptoolsClient) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await take(reader)
        await reader.read()

    async with host(handle) as (url, seen):
        held = [asyncio.create_task(read(http, url)) for _ in range(2)]
        while len(seen) < 2:
            await asyncio.sleep(0.005)
        with pytest.raises(UpstreamTimeout):
            await read(http, url, timeout_s=0.1)
        waiting = asyncio.create_task(read(http, url))
        await asyncio.sleep(0)
        held[0].cancel()  # makes room
        while len(seen) < 3:
            await asyncio.sleep(0.005)
        for task in (*held, waiting):
            task.cancel()
        await asyncio.gather(*held, waiting, return_exceptions=True)


async def test_a_reader_that_takes_nothing_holds_the_sender_back(http: HttptoolsClient) -> None:
    sent = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        nonlocal sent
        await take(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 60000000\r\n\r\n")
        for _ in range(600):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with host(handle) as (url, _):
        reply = await http.post(url, JSON, b"{}", 10)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 30_000_000  # what the sockets' own buffers take
        assert len(await reply.read(60_000_000)) == 60_000_000
        await reply.aclose()


@pytest.mark.parametrize("headers", [{"x": "a\r\nevil: 1"}, {"x\n": "a"}, {"x": "snow ☃"}])
async def test_a_header_that_could_end_early_is_refused_before_anything_is_sent(
    http: HttptoolsClient, headers: dict[str, str]
) -> None:
    async with host(always(OK)) as (url, seen):
        with pytest.raises(ConfigError):
            await http.post(url, headers, b"{}", 5)
        assert seen == []


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "http://[::1/", "http://x:99999/", "file:///etc/passwd"])
async def test_a_base_url_that_is_none_is_a_configuration_error(http: HttptoolsClient, url: str) -> None:
    with pytest.raises(ConfigError):
        await http.post(url, JSON, b"{}", 1)


async def test_a_certificate_is_checked_and_a_trusted_one_is_accepted(
    http: HttptoolsClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(tmp_path / "k"), "-out", str(tmp_path / "c")),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "c", tmp_path / "k")
    async with host(always(OK), tls) as (url, _):
        with pytest.raises(UpstreamUnavailable):
            await read(http, url)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "c"))
        async with connect(Settings(pool_size=2)) as trusting:
            assert [await read(trusting, url) for _ in range(3)] == [b"ok"] * 3
            with pytest.raises(UpstreamUnavailable):  # the name is checked too
                await read(trusting, url.replace("localhost", "127.0.0.1"))
