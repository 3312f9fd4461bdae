from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bascule.core.errors import NotFound
from bascule.core.principals import SCOPE_ADMIN, Principal
from bascule.core.rights import Rights
from bascule.rag.explain import NEAR, diagnose_refusal
from bascule.rag.options import RagOptions
from bascule.testing.rag_fakes import RecitingModel, World

BOB = Principal(tenant="t", subject="bob")
EVE = Principal(tenant="t", subject="eve")
ADMIN = Principal(tenant="t", subject="root", scopes=frozenset({SCOPE_ADMIN}))
PAGE = "Refunds take 5 working days. Parcels leave on Monday."
QUESTION = "How long do refunds take?"


async def _explained(world: World, question: str = QUESTION, **asked: Any) -> dict[str, Any]:
    answer = await world.questions.answer(BOB, question, **asked)
    return await world.questions.explain(BOB, answer.id)


async def _world(said: str, **options: Any) -> World:
    world = World(chat=RecitingModel(said), options=RagOptions(chat_model="fast", **options))
    await world.add("page", PAGE, title="Refunds")
    return world


async def test_every_step_is_told_in_order() -> None:
    view = await _explained(await _world("Refunds take 5 working days [1]."))
    names = ["rewrite", "retrieve", "check", "fuse", "rerank", "prompt", "answer", "verify"]
    assert [s["name"] for s in view["stages"]] == names
    assert all(s["took_s"] >= 0 for s in view["stages"])
    assert view["diagnosis"] == "answered"
    assert view["passages"][0]["title"] == "Refunds"
    facts = {s["name"]: s["facts"] for s in view["stages"]}
    assert facts["answer"] == {
        "model": "fast",
        "cache": "MISS",
        "usage": {"input_tokens": 10, "output_tokens": 5},
        "complete": True,
    }
    assert facts["verify"]["sentences"] == [{"kept": True, "coverage": 1.0}]


async def test_a_trace_holds_no_passage_text() -> None:
    world = await _world("Refunds take 5 working days [1].")
    await _explained(world)
    (trace,) = world.catalogue.saved.values()
    bare = msgspec.structs.replace(trace, question="", answer="")
    assert b"Parcels leave" not in msgspec.json.encode(bare)
    assert b"working" not in msgspec.json.encode(bare)


async def test_no_number_tells_of_what_may_not_be_read() -> None:
    world = await _world("Refunds take 5 working days [1].")
    (hidden,) = await world.add("secret", "Refunds to directors take 1 day.", allow=["group:hr"])
    view = await _explained(world)
    facts = {s["name"]: s["facts"] for s in view["stages"]}
    assert facts["check"] == {"visible": 1}
    assert hidden not in msgspec.json.encode(view).decode()


@pytest.mark.parametrize(
    ("said", "diagnosis"),
    [
        ("NO_ANSWER", "in context but ignored"),
        ("Refunds take 9 working days [1].", "unsupported generation"),
        ("Refunds take 5 working days [1]. Refunds take 9 working days [1].", "unsupported generation"),
    ],
)
async def test_what_the_model_did_is_diagnosed(said: str, diagnosis: str) -> None:
    assert (await _explained(await _world(said)))["diagnosis"] == diagnosis


async def test_a_topic_that_is_nowhere_is_not_indexed() -> None:
    view = await _explained(
        await _world("NO_ANSWER"), "Which refunds does the Zurich observatory grant to astronomers?"
    )
    assert view["diagnosis"] == "not indexed"
    assert (await _explained(await _world("x"), "xylophone"))["diagnosis"] == "not indexed"


async def test_a_forbidden_document_reads_as_not_indexed() -> None:
    world = await _world("NO_ANSWER")
    await world.add("secret", "The xylophone is in the cellar.", allow=["group:hr"])
    assert (await _explained(world, "Where is the xylophone?"))["diagnosis"] == "not indexed"


async def test_where_the_answer_was_lost_is_told_by_who_holds_the_words() -> None:
    world = World()
    await world.add("poor", "Refunds, refunds.")
    await world.add("rich", "After a crash, refunds are paid by the insurance.")
    question = "Are refunds paid after a crash?"
    hits = await world.questions.search(BOB, question)
    chunk = {h.chunk.document_id: h.chunk for h in hits}
    assert diagnose_refusal(question, hits, [chunk["rich"]], [], evidence=0.0) == "in context but ignored"
    assert diagnose_refusal(question, hits, [chunk["poor"]], [chunk["rich"]], evidence=0.0) == "ranked but truncated"
    assert diagnose_refusal(question, hits, [chunk["poor"]], [], evidence=0.0) == "retrieved but not ranked"
    assert diagnose_refusal("Who paints the observatory?", hits, [chunk["poor"]], [], evidence=0.0) == "not indexed"
    assert diagnose_refusal(question, [], [], [], evidence=0.0) == "not indexed"


PAID = "Refunds take 5 working days. Customers are paid to the account they used."


async def test_a_paraphrase_that_was_read_is_told_from_what_is_nowhere_with_the_words_it_lacks() -> None:
    world = World()
    await world.add("page", PAID)
    near = await _explained(world, "How many weeks until customers are paid?")
    assert (near["status"], near["reason"], near["diagnosis"]) == ("refused", "no_evidence", "in context but ignored")
    assert near["why"].endswith("0.45 needed. No passage read has: weeks, until.")
    far = await _explained(world, "Which refunds does the Zurich observatory grant to astronomers?")
    assert far["diagnosis"] == "not indexed" and far["why"].startswith("Nothing that may be read here is near")
    nothing = await _explained(world, "xylophone")
    assert nothing["why"] == "Nothing that may be read here was found for it."
    assert (await _explained(world, "How many working days do refunds take?"))["why"] == ""


async def test_a_refusal_reads_the_same_whether_the_document_is_hidden_or_not_there() -> None:
    views = []
    for allow in (["group:hr"], None):
        world = World()
        await world.add("page", PAID)
        if allow:
            await world.add("secret", "Directors are paid for a crash of a rented bicycle.", allow=allow)
        views.append(await _explained(world, "Who pays for the crash of a rented bicycle?"))
    one, other = ({k: v for k, v in view.items() if k in ("diagnosis", "why", "missed")} for view in views)
    assert one == other and one["diagnosis"] == "not indexed"


async def test_what_a_model_declined_is_diagnosed_by_the_evidence_it_had() -> None:
    world = World(chat=RecitingModel("NO_ANSWER"))
    await world.add("page", PAID)
    view = await _explained(world, "How many weeks until customers are paid?")
    facts = next(s["facts"] for s in view["stages"] if s["name"] == "verify")
    assert facts["evidence"] >= NEAR and facts["needed"] == 0.45
    assert (view["diagnosis"], view["why"][:20]) == ("in context but ignored", "Something near was r")


async def test_explaining_needs_to_be_the_asker_or_an_admin() -> None:
    world = await _world("Refunds take 5 working days [1].")
    answer = await world.questions.answer(BOB, QUESTION)
    with pytest.raises(NotFound):
        await world.questions.explain(EVE, answer.id)
    with pytest.raises(NotFound):
        await world.questions.explain(BOB, "no-such-answer")
    assert (await world.questions.explain(ADMIN, answer.id))["answer"]


async def test_rights_lost_since_hide_the_text_and_the_ids() -> None:
    world = await _world("Refunds take 5 working days [1].")
    answer = await world.questions.answer(BOB, QUESTION)
    (chunk,) = world.catalogue.documents["page"].chunks
    world.catalogue.documents["page"].rights = Rights.of(["group:hr"])
    view = await world.questions.explain(BOB, answer.id)
    assert view["answer"] == ""
    assert view["diagnosis"] == "stale"
    assert chunk.id not in msgspec.json.encode(view).decode()
