"""Why something is not in an answer: every class of diagnosis, and who may know which."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bascule.core.errors import InvalidRequest, NotFound, ScopeMissing, StorageError, UpstreamUnavailable
from bascule.core.principals import SCOPE_ASK, SCOPE_AUDIT, Principal
from bascule.core.rights import Rights
from bascule.rag.options import RagOptions
from bascule.testing.explaining import ExplainedWorld
from bascule.testing.rag_fakes import RecitingModel

BOB = Principal(tenant="t", subject="bob", scopes=frozenset({SCOPE_ASK}))
EVE = Principal(tenant="t", subject="eve", scopes=frozenset({SCOPE_ASK}))
AUDITOR = Principal(tenant="t", subject="aud", scopes=frozenset({SCOPE_ASK, SCOPE_AUDIT}))
FOREIGN = Principal(tenant="u", subject="aud", scopes=frozenset({SCOPE_ASK, SCOPE_AUDIT}))
QUESTION = "How long do refunds take?"


async def _expected(world: ExplainedWorld, expect: str, question: str = QUESTION, **asked: Any) -> dict[str, Any]:
    answer = await world.questions.answer(BOB, question, **asked)
    return dict((await world.explanations.explain(BOB, answer.id, expect=expect))["expected"])


async def _model_world(said: str, **options: Any) -> ExplainedWorld:
    world = ExplainedWorld(chat=RecitingModel(said), options=RagOptions(chat_model="fast", **options))
    await world.add("page", "Refunds take 5 working days. Parcels leave on Monday.", title="Refunds")
    return world


async def test_what_is_nowhere_is_not_indexed_and_a_failed_document_says_why() -> None:
    world = await _model_world("NO_ANSWER")
    found = await _expected(world, "The observatory opens at nine.")
    assert (found["diagnosis"], found["documents"]) == ("not indexed", [])
    await world.add("broken", [])
    world.library.states["broken"] = ("failed", "The file is encrypted.")
    found = await _expected(world, "broken")
    assert found["diagnosis"] == "not indexed"
    assert "failed: The file is encrypted." in found["why"]


async def test_a_document_of_a_collection_that_was_not_asked_is_not_indexed_there() -> None:
    world = await _model_world("NO_ANSWER")
    await world.add("other", "Refunds take 9 days abroad.", collection="abroad")
    found = await _expected(world, "other", collections=["docs"])
    assert found["diagnosis"] == "not indexed"
    assert "'abroad'" in found["why"]


async def test_what_came_after_the_answer_is_stale() -> None:
    world = await _model_world("NO_ANSWER")
    answer = await world.questions.answer(BOB, QUESTION)
    await world.add("late", "Refunds take 3 days since the new year.")
    document = world.library.documents["late"]
    document.chunks = [msgspec.structs.replace(c, updated_at="2999-01-01T00:00:00.000Z") for c in document.chunks]
    view = await world.explanations.explain(BOB, answer.id, expect="late")
    assert view["expected"]["diagnosis"] == "stale"


async def test_what_was_cut_from_the_context_is_truncated_for_its_own_reason() -> None:
    world = await _model_world("NO_ANSWER", passages=2)
    for number in range(4):
        await world.add(f"more{number}", f"Refunds take long, says note {number} about refunds and how long they take.")
    answer = await world.questions.answer(BOB, QUESTION)
    view = await world.explanations.explain(BOB, answer.id)
    assert {row["why"] for row in view["missed"]} == {"passage limit"}
    assert all(row["place"] > 2 for row in view["missed"])
    last = view["missed"][-1]["title"]
    verdict = (await world.explanations.explain(BOB, answer.id, expect=last))["expected"]
    assert verdict["diagnosis"] == "ranked but truncated"
    assert "rag.passages" in verdict["why"]


async def test_what_did_not_fit_the_tokens_says_so() -> None:
    world = await _model_world("NO_ANSWER", prompt_tokens=60)
    await world.add("essay", "Refunds are long to explain: how long do they take? " + "Many words follow here. " * 60)
    answer = await world.questions.answer(BOB, QUESTION)
    view = await world.explanations.explain(BOB, answer.id)
    assert [row["why"] for row in view["missed"]] == ["token budget"]


async def test_a_passage_far_down_is_retrieved_but_not_ranked_and_one_without_the_words_not_retrieved() -> None:
    world = await _model_world("NO_ANSWER", candidates=5, refills=0, passages=2)
    for number in range(20):
        await world.add(f"near{number}", f"How long refunds take, number {number}.")
    await world.add(
        "far", "After a crash the insurance decides about refunds, which the workshop then books for itself."
    )
    await world.add("apart", "The cellar holds a xylophone.")
    found = await _expected(world, "far")
    assert found["diagnosis"] == "retrieved but not ranked"
    assert found["places"][0]["by_words"] > 5
    assert found["places"][0]["lacks"]
    assert (await _expected(world, "apart"))["diagnosis"] == "not retrieved"


async def test_what_was_read_is_cited_or_ignored_or_was_not_supported() -> None:
    assert (await _expected(await _model_world("Refunds take 5 working days [1]."), "page"))["diagnosis"] == "answered"
    assert (await _expected(await _model_world("NO_ANSWER"), "page"))["diagnosis"] == "in context but ignored"
    said = "Refunds take 9 working days [1]."
    assert (await _expected(await _model_world(said), "page"))["diagnosis"] == "unsupported generation"
    text = "Parcels leave on Monday."
    found = await _expected(await _model_world("Refunds take 5 working days [1]."), text)
    assert found["diagnosis"] == "in context but ignored"
    assert "cited for something else" in found["why"]


async def test_a_model_that_failed_is_the_reason() -> None:
    world = await _model_world("")
    assert world.chat is not None
    world.chat.error = UpstreamUnavailable("down")
    found = await _expected(world, "Parcels leave on Monday.")
    assert found["diagnosis"] == "upstream error"


async def _with_secret() -> tuple[ExplainedWorld, str]:
    world = await _model_world("NO_ANSWER")
    await world.add(
        "secret", "The xylophone of the director is in the cellar.", title="Instruments", allow=["group:hr"]
    )
    answer = await world.questions.answer(BOB, "Where is the xylophone?")
    return world, answer.id


async def test_R5_hidden_by_permission_reads_not_indexed_to_the_asker_with_no_count() -> None:
    world, answer = await _with_secret()
    empty = await _model_world("NO_ANSWER")
    without = await empty.questions.answer(BOB, "Where is the xylophone?")
    for expect in ("secret", "Instruments", "The xylophone of the director"):
        view = await world.explanations.explain(BOB, answer, expect=expect)
        same = await empty.explanations.explain(BOB, without.id, expect=expect)
        assert view["diagnosis"] == view["expected"]["diagnosis"] == "not indexed"
        assert view["expected"] == same["expected"]
        assert "Instruments" not in msgspec.json.encode(view | {"expected": {}}).decode()
    assert world.library.audited == []


async def test_R5_the_truth_needs_the_scope_and_is_audited_before_it_is_told() -> None:
    world, answer = await _with_secret()
    with pytest.raises(ScopeMissing):
        await world.explanations.explain(BOB, answer, truth=True)
    with pytest.raises(NotFound):
        await world.explanations.explain(FOREIGN, answer, truth=True)
    told = (await world.explanations.explain(AUDITOR, answer, truth=True, expect="secret"))["truth"]
    assert world.library.audited == [("aud", "answer.truth", answer)]
    assert told["diagnosis"] == told["expected"]["diagnosis"] == "hidden by permission"
    assert [row["document_id"] for row in told["hidden"]] == ["secret"]
    assert told["hidden"][0]["title"] is None, "the auditor may not read it either"
    world.library.documents["secret"].rights = opened = Rights.of(["user:aud"])
    await world.store.move("secret", world.library.acl_id("t", opened))
    told = (await world.explanations.explain(AUDITOR, answer, truth=True))["truth"]
    assert told["hidden"][0]["title"] == "Instruments"


async def test_A6_the_truth_is_refused_when_it_cannot_be_audited() -> None:
    world, answer = await _with_secret()
    world.library.full = True
    searches = world.store.searches
    with pytest.raises(StorageError):
        await world.explanations.explain(AUDITOR, answer, truth=True)
    assert world.store.searches == searches, "nothing was looked for"


async def test_an_answer_that_is_not_yours_is_not_found_and_an_endless_text_refused() -> None:
    world, answer = await _with_secret()
    with pytest.raises(NotFound):
        await world.explanations.explain(EVE, answer, expect="page")
    with pytest.raises(InvalidRequest):
        await world.explanations.explain(BOB, answer, expect="x" * 3000)


async def test_the_parts_of_a_prompt_are_counted_and_add_up() -> None:
    world = await _model_world("Refunds take 5 working days [1].")
    answer = await world.questions.answer(BOB, QUESTION)
    prompt = (await world.explanations.explain(BOB, answer.id))["prompt"]
    assert [row["part"] for row in prompt["parts"]] == ["instruction (answer.v1)", "passage 1", "question"]
    assert prompt["tokens"] == sum(row["tokens"] for row in prompt["parts"])
    assert prompt["parts"][1]["text_tokens"] < prompt["parts"][1]["tokens"]
    assert (prompt["reported"], prompt["cache"]) == (10, "MISS")
