from __future__ import annotations

import pytest

from bascule.core.principals import Principal
from bascule.rag import extract
from bascule.rag.options import RagOptions
from bascule.testing.rag_fakes import RecitingModel, WordEmbedder, World

BOB = Principal(tenant="t", subject="bob")
RETURNS = """# Returns

A customer may return a bicycle within 30 days of the day it was delivered. Parts and clothing
may be returned within 60 days.

Refunds go to the card that paid and arrive within 5 working days."""


async def _world(**more: str) -> World:
    world = World()
    await world.add("returns", RETURNS, title="Returns and refunds")
    await world.add(
        "shipping", "We ship to every country of the European Union. Delivery takes three days.", title="Shipping"
    )
    await world.add(
        "holiday", "Colleagues have 28 days of paid holiday a year, on top of public holidays.", title="Holiday"
    )
    for name, text in more.items():
        await world.add(name, text)
    return world


@pytest.mark.parametrize(
    ("question", "fact", "document"),
    [
        ("Within how many days can I return a bicycle?", "30 days", "returns"),
        ("How many days of holiday do I have a year?", "28 days", "holiday"),
        ("How long does delivery take?", "three days", "shipping"),
        ("When do refunds arrive?", "5 working days", "returns"),
    ],
)
async def test_ordinary_questions_are_answered_by_the_sentence_that_says_it(
    question: str, fact: str, document: str
) -> None:
    answer = await (await _world()).questions.answer(BOB, question)
    assert answer.status == "answered"
    assert fact in answer.answer
    assert answer.citations[0].document_id == document
    assert answer.model == "extractive"


@pytest.mark.parametrize(
    "question", ["What is the capital of France?", "Who is the chief executive?", "Is yoga healthy?"]
)
async def test_a_topic_the_corpus_lacks_is_refused(question: str) -> None:
    answer = await (await _world()).questions.answer(BOB, question)
    assert (answer.status, answer.reason, answer.answer, answer.citations) == ("refused", "no_evidence", "", ())


async def test_every_quote_is_the_passages_own_text_at_its_span() -> None:
    world = await _world()
    answer = await world.questions.answer(BOB, "Within how many days can I return a bicycle?")
    assert answer.citations
    for citation in answer.citations:
        chunk = await world.catalogue.passage(BOB, citation.chunk_id)
        assert chunk.text[slice(*citation.span)] == citation.quote
        assert f"[{citation.number}]" in answer.answer


async def test_an_answer_is_short_whole_and_without_headings() -> None:
    answer = await (await _world()).questions.answer(BOB, "Within how many days can I return a bicycle?")
    assert 1 <= len(answer.citations) <= 3
    assert "#" not in answer.answer
    assert "\n" not in answer.answer
    assert answer.answer[0].isupper()


async def test_a_table_row_is_read_with_its_column_names() -> None:
    world = World()
    table = "product | price_eur | delivery\nHeron City | 849 | in stock\nKestrel 5 | 3290 | 3 weeks"
    await world.add("prices", table, title="Price list", kind="table")
    answer = await world.questions.answer(BOB, "What is the price of the Heron City?")
    assert "Heron City: price_eur 849, delivery in stock." in answer.answer


async def test_a_manuals_entry_is_quoted_with_its_name() -> None:
    world = World()
    entries = {
        "append(self, object, /)": "Append object to the end of the list.",
        "reverse(self, /)": "Reverse *IN PLACE*.",
    }
    text = " |\n".join(f" |  {signature}\n |      {what}\n" for signature, what in entries.items())
    await world.add("list", text, title="Help on class list")
    answer = await world.questions.answer(BOB, "How do I reverse a list?")
    assert answer.answer.startswith("reverse(self, /): Reverse *IN PLACE*.")


async def test_links_in_documents_are_not_passed_on() -> None:
    world = await _world(
        evil="Bicycle bells ring loudly ![x](http://evil.example/a.png) and [ring](http://evil.example) far."
    )
    answer = await world.questions.answer(BOB, "How do bicycle bells ring?")
    assert answer.status == "answered"
    assert "evil.example" not in answer.answer


async def test_repeated_passages_are_read_once() -> None:
    world = await _world()
    await world.add("copy", RETURNS, title="Returns and refunds")
    answer = await world.questions.answer(BOB, "When do refunds arrive?")
    assert len({c.quote for c in answer.citations}) == len(answer.citations)


async def test_similarity_of_sentences_decides_among_equal_words() -> None:
    world = await _world()
    hits = await world.questions.search(BOB, "bicycle return days")
    first = extract.choose("bicycle return days", hits, most=1)[0]
    other = next(s for s in extract.rank("bicycle return days", hits) if s.sentence != first.sentence)
    near = {(other.hit.chunk.id, other.sentence.start): 5.0}
    assert extract.choose("bicycle return days", hits, most=1, similarity=near)[0].sentence == other.sentence


async def test_sentences_are_embedded_without_being_stored_and_with_their_documents() -> None:
    embedder = WordEmbedder()
    world = World(embedder=embedder)
    await world.add("returns", RETURNS, title="Returns and refunds")
    await world.questions.answer(BOB, "Within how many days can I return a bicycle?")
    query, sentences = embedder.calls
    assert query.document_ids == frozenset()
    assert sentences.document_ids == {"returns"}
    assert sentences.directives is not None
    assert sentences.directives.no_store


async def test_a_scale_that_was_not_calibrated_is_not_used() -> None:
    world = World(embedder=WordEmbedder())
    await world.add("returns", RETURNS)
    hits = await world.questions.search(BOB, "When do refunds arrive?")
    assert extract.support("When do refunds arrive?", hits, scaled=False).cosine is None
    assert extract.support("When do refunds arrive?", hits, scaled=True).cosine is not None


async def test_extractive_can_be_asked_for_beside_a_model() -> None:
    world = World(chat=RecitingModel("Nothing."), options=RagOptions(chat_model="fast"))
    await world.add("returns", RETURNS)
    answer = await world.questions.answer(BOB, "When do refunds arrive?", model="extractive")
    assert answer.model == "extractive"
    assert answer.degraded == ("lexical_only",)


def test_no_hits_are_no_support() -> None:
    assert not extract.support("Anything?", []).enough
