"""Texts in records: only where the operator wants them, masked and cut."""

from __future__ import annotations

from bascule.core.embedding import EmbeddingRequest
from bascule.gateway.kept_text import MAX_CHARS, kept_text
from bascule.testing.gateway import ScriptedModel, bench, call, collect, request


async def test_a_record_keeps_text_only_where_the_operator_wants_it() -> None:
    for keep in (False, True):
        b = bench(ScriptedModel("one", "two"), keep_text=keep)
        await b.gateway.chat(request("mail a@b.com"), call(document_ids=frozenset({"d1"})))
        await collect(await b.gateway.stream(request("again", stream=True), call()))
        await b.gateway.embed(EmbeddingRequest(model="fast", texts=("a document's own",)), call())
        found = [record.text for record in b.records]
        if not keep:
            assert found == [None, None, None]
            continue
        assert found[0] is not None and found[1] is not None and found[2] is None
        assert (found[0].prompt, found[0].answer, found[0].document_ids) == ("mail [email]", "one", ("d1",))
        assert (found[1].prompt, found[1].answer) == ("again", "two")


def test_a_text_is_cut_and_what_lies_across_the_cut_is_masked() -> None:
    lead = "x " * (MAX_CHARS // 2 - 3)
    kept = kept_text(request(lead + "someone.long@example.com and more " * 10), "a@b.com " * 10_000, ())
    assert kept.prompt == lead + "[email]"
    assert "@" not in kept.answer and len(kept.answer) <= MAX_CHARS
