from __future__ import annotations

import random

import pytest

from bascule.core import sse
from bascule.core.errors import UpstreamInvalid
from bascule.core.sse import SseParser

STREAM = '\ufeff: comment\r\ndata: {"a": "é漢🙂"}\n\nevent: ping\rdata:two\rdata: lines\r\rid: 7\nretry: 1\n\n\r\ndata\n\n'.encode()
EVENTS = [("", '{"a": "é漢🙂"}'.encode()), ("ping", b"two\nlines"), ("", b"")]


def test_events_are_read_whole_whatever_the_line_ends() -> None:
    assert SseParser().feed(STREAM) == EVENTS


@pytest.mark.parametrize("seed", range(30))
def test_a_stream_cut_anywhere_even_inside_a_character_or_a_line_end_gives_the_same_events(seed: int) -> None:
    rng, parser, found, at = random.Random(seed), SseParser(), [], 0
    while at < len(STREAM):
        size = rng.randint(1, 4)
        found += parser.feed(STREAM[at : at + size])
        at += size
    assert found == EVENTS


def test_an_event_without_its_blank_line_is_not_given_out() -> None:
    assert SseParser().feed(b"data: half") == []


@pytest.mark.parametrize("piece", [b"x" * 60, b"data: " + b"x" * 54 + b"\n"])
def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    parser = SseParser()
    with pytest.raises(UpstreamInvalid):
        for _ in range(3):
            parser.feed(piece)
