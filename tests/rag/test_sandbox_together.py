"""Small documents share a message to the child, and none of them pays for another."""

from __future__ import annotations

import gzip
import sys

import pytest
from tests.rag.test_sandbox import UNRULY

from bascule.core.documents import PreparedDocument, RawDocument
from bascule.core.errors import IngestError
from bascule.rag import child_process
from bascule.rag.confine import Limits
from bascule.rag.sandbox import SandboxOptions, open_sandbox
from bascule.rag.together import together
from bascule.rag.wire import Batch, Work
from bascule.testing.documents import line, pdf


@pytest.fixture
def unruly(monkeypatch):
    monkeypatch.setattr(child_process, "_command", lambda: (sys.executable, "-P", "-c", UNRULY))


@pytest.fixture
def messages(monkeypatch):
    """What children were asked."""
    asked = []
    ask = child_process.Child.ask

    async def noted(self, message, max_bytes):
        asked.append(message)
        return await ask(self, message, max_bytes)

    monkeypatch.setattr(child_process.Child, "ask", noted)
    return asked


def raw(*words: str) -> list[RawDocument]:
    return [RawDocument(word.encode(), "x.txt", "") for word in words]


def shown(one: PreparedDocument | IngestError) -> str:
    return one.chunks[0].text if isinstance(one, PreparedDocument) else one.reason


async def test_what_comes_out_together_is_what_comes_out_alone(messages):
    given = [
        RawDocument(b"Note 1.\n\nThe bridge has two leaves.", "a.txt", ""),
        RawDocument(b"", "empty.txt", ""),
        RawDocument(b"# Head\n\ncall +49 30 901820", "b.md", "text/markdown"),
        RawDocument(pdf([line("on paper")]), "c.pdf", ""),
        RawDocument(b"word " * 10_000, "long.txt", ""),
        RawDocument(b"a,b\n1,2\n3,4\n", "d.csv", ""),
    ]
    async with open_sandbox(SandboxOptions()) as box:
        made = await box.prepare_all(given)
        assert sorted(len(m.works) if isinstance(m, Batch) else 1 for m in messages[1:]) == [1, 1, 4]
        for one, each in zip(made, given, strict=True):
            if each.data:
                assert one == await box.prepare(each.data, each.name, each.media_type)
            else:
                assert isinstance(one, IngestError) and one.reason == "empty"


async def test_modes_and_keys_hold_for_documents_that_come_together():
    async with open_sandbox(SandboxOptions()) as box:
        masked, under = [
            await box.prepare_all(raw("write to ann@example.com", "nothing"), mode, b"k" * 32)
            for mode in ("mask", "pseudonymise")
        ]
    assert shown(masked[0]) == "write to [email]" and shown(under[0]).startswith("write to [email:")


@pytest.mark.parametrize(
    ("word", "limits", "reason"),
    [
        ("hang", {"wall_s": 0.5}, "too_slow"),
        ("spin", {"cpu_s": 1}, "too_slow"),
        ("memory", {"memory_bytes": 700_000_000}, "too_large"),
        ("crash", {}, "crashed"),
        ("exit", {}, "crashed"),
        ("raise", {}, "crashed"),
    ],
)
async def test_a_document_that_ends_the_child_takes_none_of_its_neighbours_with_it(unruly, word, limits, reason):
    async with open_sandbox(SandboxOptions(limits=Limits(**limits))) as box:
        made = await box.prepare_all(raw("good before", word, "good after"))
        assert [shown(one) for one in made] == ["good before", reason, "good after"]
        assert shown((await box.prepare_all(raw("next", "pid")))[0]) == "next"


async def test_what_an_earlier_document_broke_is_not_blamed_on_a_later_one(unruly):
    async with open_sandbox(SandboxOptions()) as box:
        assert [shown(one) for one in await box.prepare_all(raw("poison", "fragile"))] == ["poison", "fragile"]


async def test_an_answer_too_large_together_is_taken_one_by_one(unruly, messages):
    async with open_sandbox(SandboxOptions(max_result_bytes=800_000)) as box:
        made = await box.prepare_all(raw("big a", "big b", "big c"))  # 300 KB each
        assert [shown(one)[:5] for one in made] == ["big a", "big b", "big c"]
    assert sum(isinstance(message, Work) for message in messages) == 3


async def test_children_are_counted_by_their_documents_not_by_their_messages(unruly):
    async with open_sandbox(SandboxOptions(recycle_after=4)) as box:
        first = await box.prepare_all(raw("pid", "a", "b"))
        again = await box.prepare_all(raw("pid", "a"))
        other = await box.prepare_all(raw("pid", "a"))
    assert shown(first[0]) == shown(again[0]) != shown(other[0])


async def test_a_child_that_cannot_start_is_told_of_each(monkeypatch):
    monkeypatch.setattr(child_process, "_command", lambda: (sys.executable, "-c", "raise SystemExit(1)"))
    async with open_sandbox(SandboxOptions()) as box:
        made = await box.prepare_all(raw("a", "b"))
    assert all(isinstance(one, IngestError) and one.transient for one in made) and len(made) == 2


def test_only_small_text_shares_a_message():
    def groups(*data: bytes) -> list[list[int]]:
        return together([Work(data=each, name="", media_type="") for each in data])

    assert groups(b"a", gzip.compress(b"a"), b"b", b"%PDF-1.7", b"c\0", b"d" * 20_000, b"e") == [
        [1],
        [3],
        [4],
        [5],
        [0, 2, 6],
    ]
    many = groups(*[b"x" * 500] * 150)
    assert [len(group) for group in many] == [64, 64, 22] and [n for group in many for n in group] == list(range(150))
    assert [len(group) for group in groups(*[b"x" * 15_000] * 6)] == [4, 2]
    assert groups() == []
