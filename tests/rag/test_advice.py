"""Small questions to a model between the steps: what they change, what they cost, and that an answer goes on without them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from bascule.core.calls import Call
from bascule.core.chat import ChatRequest, ChatResponse
from bascule.core.documents import Answer, VisibleChunk
from bascule.core.errors import BasculeError, LimitExceeded, PolicyRefused, UpstreamTimeout, UpstreamUnavailable
from bascule.core.principals import Principal
from bascule.rag.options import RagOptions
from bascule.testing.rag_fakes import RecitingModel, World

BOB = Principal(tenant="t", subject="bob")
ANN = Principal(tenant="t", subject="ann", groups=frozenset({"hr"}))
BEFORE = [
    {"role": "user", "content": "Tell me about the Aurora tent."},
    {"role": "assistant", "content": "The Aurora tent is for two."},
]
STANDALONE, SPLIT, HOP, RANK, JUDGE, REPAIR = (
    "stands alone.", "several things", "found so far", "You order passages", "You check whether", "You correct sentences",
)  # fmt: skip
FAILURES: list[BasculeError] = [
    UpstreamUnavailable("down"),
    LimitExceeded("too many", limit="requests", retry_after_s=1.0),
    PolicyRefused("no"),
]


async def _world(said: str = "", advice: dict[str, Any] | None = None, **options: Any) -> World:
    chat = RecitingModel(said)
    chat.advice = advice or {}
    return World(chat=chat, options=RagOptions(chat_model="fast", prompt_key=b"k", **options))


def _asked(world: World, word: str) -> list[str]:
    assert world.chat is not None
    said = [(str(m[0]["content"]), str(m[1]["content"])) for m in (r.view["messages"] for r in world.chat.requests)]
    return [user for system, user in said if word in system]


async def _facts(world: World, answer: Answer, step: str, who: Principal = BOB) -> dict[str, Any]:
    view = await world.questions.explain(who, answer.id)
    found = [stage["facts"] for stage in view["stages"] if stage["name"] == step]
    return dict(found[0]) if found else {}


# ---------------------------------------------------------------- rewriting


async def test_a_follow_up_is_searched_as_the_model_puts_it() -> None:
    world = await _world("It weighs 2 kg [1].", {STANDALONE: "How heavy is the Aurora tent?\n"}, rewrite="model")
    await world.add("tent", "The Aurora tent weighs 2 kg.")
    await world.add("lamp", "The lamp weighs 1 kg.")
    answer = await world.questions.answer(BOB, "And how heavy is it?", messages=BEFORE)
    assert answer.citations[0].document_id == "tent"
    facts = await _facts(world, answer, "rewrite")
    assert (facts["query"], facts["changed"]) == ("How heavy is the Aurora tent?", True)
    assert (facts["asked"][0]["for"], facts["asked"][0]["model"]) == ("rewrite", "fast")
    assert answer.usage == {"input_tokens": 20, "output_tokens": 10}, "the small call's tokens count"


async def test_without_a_conversation_nothing_is_asked() -> None:
    world = await _world("It weighs 2 kg [1].", {STANDALONE: "changed"}, rewrite="model")
    await world.add("tent", "The Aurora tent weighs 2 kg.")
    await world.questions.answer(BOB, "How heavy is the Aurora tent?")
    assert _asked(world, STANDALONE) == []


@pytest.mark.parametrize("error", FAILURES, ids=lambda e: type(e).__name__)
async def test_advice_that_fails_leaves_the_step_as_it_is_without(error: BasculeError) -> None:
    told = []
    for advice in ({}, dict.fromkeys([STANDALONE, SPLIT, HOP, JUDGE], error)):
        switched = {"rewrite": "model", "subquestions": 2, "hops": 1, "judge": "model"} if advice else {}
        world = await _world("It weighs 2 kg [1].", advice, **switched)
        await world.add("tent", "The Aurora tent weighs 2 kg.")
        answer = await world.questions.answer(BOB, "And how heavy is it?", messages=BEFORE)
        told.append((answer.status, answer.answer, (await _facts(world, answer, "rewrite"))["query"]))
        if advice:
            further = await _facts(world, answer, "further")
            assert [a["error"] for a in further["asked"]] == [error.code] * 2
    assert told[0] == told[1]
    assert told[0][0] == "answered"


@pytest.mark.parametrize("said", ["", "  \n ", "x" * 501])
async def test_a_rewriting_that_is_none_is_not_taken(said: str) -> None:
    world = await _world("It weighs 2 kg [1].", {STANDALONE: said}, rewrite="model")
    await world.add("tent", "The Aurora tent weighs 2 kg.")
    answer = await world.questions.answer(BOB, "And how heavy is it?", messages=BEFORE)
    facts = await _facts(world, answer, "rewrite")
    assert facts["query"] == "Tell me about the Aurora tent. And how heavy is it?"


# ---------------------------------------------------------------- further searches

TWO = "How long is the warranty of the lamp and who sews the tent?"


async def test_each_thing_asked_for_is_searched_by_itself_and_none_is_crowded_out() -> None:
    advice = {SPLIT: "1. How long is the warranty of the lamp?\n2. Who sews the tent?\n3. What else?"}
    world = await _world("The tent is sewn by Mara [1].", advice, subquestions=2, passages=2)
    for number in range(6):
        await world.add(f"lamp{number}", f"The warranty of lamp number {number} is long, the lamp has a warranty.")
    await world.add("tent", "Mara sews it: the tent.")
    answer = await world.questions.answer(BOB, TWO)
    assert answer.citations[0].document_id == "tent"
    searches = (await _facts(world, answer, "further"))["searches"]
    assert [s["query"] for s in searches] == ["How long is the warranty of the lamp?", "Who sews the tent?"], (
        "two, no more"
    )


async def test_a_second_hop_finds_what_the_first_passages_name() -> None:
    world = await _world("Mara lives in Bergen [1].", {HOP: "Where does Mara live?"}, hops=2)
    await world.add("tent", "The tent is sewn by Mara.")
    await world.add("people", "Mara: Bergen, and Mara lives there.")
    answer = await world.questions.answer(BOB, "Which town is the sewer of the tent from?")
    facts = await _facts(world, answer, "further")
    assert [s["query"] for s in facts["searches"]] == ["Where does Mara live?"], "the same search is made once"
    assert len(facts["asked"]) == 2, "the second round was asked, and said nothing new"
    assert {c["document_id"] for c in (await world.questions.explain(BOB, answer.id))["passages"]} == {"tent", "people"}


async def test_none_means_none() -> None:
    world = await _world("The tent is sewn by Mara [1].", {SPLIT: "NONE", HOP: "None."}, hops=3, subquestions=3)
    await world.add("tent", "The tent is sewn by Mara.")
    answer = await world.questions.answer(BOB, "Who sews the tent?")
    facts = await _facts(world, answer, "further")
    assert (facts["searches"], len(facts["asked"])) == ([], 2)


async def test_a_further_search_finds_nothing_that_its_asker_may_not_read() -> None:
    """A document talks the model into a search for what is secret: law 10 says that this gets it nowhere."""
    advice = {HOP: "CANARY salary list"}
    world = await _world("Salaries are CANARY-9 [1]. Salaries are CANARY-9 [2].", advice, hops=2)
    await world.add("note", "Salaries: ask the office for the salary list.")
    await world.add("secret", "The CANARY salary list: salaries are CANARY-9.", allow=["group:hr"])
    answer = await world.questions.answer(BOB, "What are the salaries?")
    view = await world.questions.explain(BOB, answer.id)
    assert b"CANARY-9" not in msgspec.json.encode(answer)
    assert b"CANARY-9" not in msgspec.json.encode(view)
    assert "CANARY-9" in (await world.questions.answer(ANN, "What are the salaries?")).answer


async def test_a_search_drawn_from_a_passage_goes_with_it() -> None:
    world = await _world("Mara lives in Bergen [1].", {HOP: "Where does Mara live?"}, hops=1, passages=1)
    await world.add("tent", "The tent is sewn by Mara in the town.", allow=["user:bob"])
    await world.add("people", "Which town: Mara lives in Bergen, the town.")
    answer = await world.questions.answer(BOB, "Which town is the sewer of the tent from?")
    trace = world.catalogue.saved[answer.id]
    assert set(trace.document_ids) == {"tent", "people"}, "a deletion of either scrubs it"
    world.catalogue.delete("tent")
    assert "Mara" not in str((await _facts(world, answer, "further"))["searches"])


# ---------------------------------------------------------------- reranking


class Backwards:
    def __init__(self, error: BasculeError | None = None) -> None:
        self.error = error
        self.calls: list[tuple[str, list[VisibleChunk], Call]] = []

    async def scores(self, question: str, chunks: Sequence[VisibleChunk], call: Call) -> list[float]:
        self.calls.append((question, list(chunks), call))
        if self.error is not None:
            raise self.error
        return [float(at) for at in range(len(chunks))]


async def _shop(world: World) -> None:
    for name, text in {"a": "Refunds take days.", "b": "Refunds take five working days.", "c": "Refunds."}.items():
        await world.add(name, text)


async def test_a_reranker_reorders_the_best_and_leaves_the_rest() -> None:
    plain, turned = World(), World(options=RagOptions(rerank_depth=2), reranker=Backwards())
    for world in (plain, turned):
        await _shop(world)
    before, after = [await w.questions.search(BOB, "How many days do refunds take?") for w in (plain, turned)]
    assert [h.chunk.document_id for h in after] == [before[i].chunk.document_id for i in (1, 0, 2)]
    assert all(0 <= b.score <= a.score <= 1 for a, b in itertools.pairwise(after))
    assert "reranker" in after[0].parts
    assert "reranker" not in after[2].parts


async def test_a_reranker_gets_what_the_asker_may_read_and_its_call_names_the_documents() -> None:
    reranker = Backwards()
    world = World(reranker=reranker)
    await _shop(world)
    await world.add("secret", "Refunds of CANARY take five days.", allow=["group:hr"])
    await world.questions.search(BOB, "How many days do refunds take?")
    ((question, chunks, call),) = reranker.calls
    assert question == "How many days do refunds take?"
    assert {c.document_id for c in chunks} == call.document_ids == {"a", "b", "c"}
    assert call.principal is BOB


@pytest.mark.parametrize("error", FAILURES[:2], ids=lambda e: type(e).__name__)
async def test_a_reranker_that_fails_leaves_the_order_and_the_answer_says_so(error: BasculeError) -> None:
    plain, failing = World(), World(reranker=Backwards(error))
    for world in (plain, failing):
        await _shop(world)
    answers = [await w.questions.answer(BOB, "How many days do refunds take?") for w in (plain, failing)]
    assert answers[0].answer == answers[1].answer != ""
    assert "rerank_failed" in answers[1].degraded
    assert "rerank_failed" not in answers[0].degraded


@pytest.mark.parametrize(
    ("said", "order"), [("3, 1", [2, 0, 1]), ("[3] [3] [9] [1]", [2, 0, 1]), ("NONE", [0, 1, 2]), ("well", None)]
)
async def test_a_model_that_orders(said: str, order: list[int] | None) -> None:
    from bascule.rag.advice import Adviser, ModelReranker

    plain = World()
    await _shop(plain)
    before = [h.chunk.document_id for h in await plain.questions.search(BOB, "How many days do refunds take?")]
    chat = RecitingModel()
    chat.advice = {RANK: said}
    world = World(chat=chat, reranker=ModelReranker(Adviser(chat, RagOptions(helper_model="small"))))
    await _shop(world)
    found = [h.chunk.document_id for h in await world.questions.search(BOB, "How many days do refunds take?")]
    assert found == [before[i] for i in (order or [0, 1, 2])]
    assert chat.requests[0].model == "small"


# ---------------------------------------------------------------- judging and repairing

PAGE = "Refunds take 5 working days. Parcels leave on Monday."
QUESTION = "How long do refunds take?"


async def test_a_sentence_that_the_model_does_not_find_in_its_passage_is_dropped() -> None:
    world = await _world("Refunds take 5 working days [1].", {JUDGE: "NO"}, judge="model")
    await world.add("page", PAGE)
    answer = await world.questions.answer(BOB, QUESTION)
    assert (answer.status, answer.reason) == ("refused", "unsupported")
    facts = await _facts(world, answer, "verify")
    assert [s["reason"] for s in facts["sentences"]] == ["judge"]
    assert "Sentence: Refunds take 5 working days." in _asked(world, JUDGE)[0]


@pytest.mark.parametrize("said", ["YES", "yes.", "I cannot say"])
async def test_a_judge_that_agrees_or_says_neither_leaves_the_comparison_of_words(said: str) -> None:
    advice = {JUDGE: said}
    world = await _world("Refunds take 5 working days [1]. Refunds take 9 working days [1].", advice, judge="model")
    await world.add("page", PAGE)
    answer = await world.questions.answer(BOB, QUESTION)
    assert answer.answer == "Refunds take 5 working days. [1]"
    assert len(_asked(world, JUDGE)) == 1, "what the words refute is not asked about"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_dropped_sentence_is_repaired_once(stream: bool) -> None:
    advice = {REPAIR: "Refunds take 5 working days [1]."}
    world = await _world("Parcels leave on Monday [1]. Refunds take 9 working days [1].", advice, repair=True)
    await world.add("page", PAGE)
    if stream:
        events = [e async for e in world.questions.stream(BOB, QUESTION)]
        answer = events[-1].data
        assert isinstance(answer, Answer)
    else:
        answer = await world.questions.answer(BOB, QUESTION)
    assert (answer.status, answer.reason) == ("answered", None)
    assert answer.answer == "Parcels leave on Monday. [1] Refunds take 5 working days. [2]"
    (asked,) = _asked(world, REPAIR)
    assert "- Refunds take 9 working days." in asked
    assert "Parcels leave on Monday [1]" not in asked


@pytest.mark.parametrize("said", ["Refunds take 8 working days [1].", "NO_ANSWER", UpstreamUnavailable("down")])
async def test_a_repair_that_does_not_stand_leaves_the_answer_partial(said: str | BasculeError) -> None:
    world = await _world("Parcels leave on Monday [1]. Refunds take 9 working days [1].", {REPAIR: said}, repair=True)
    await world.add("page", PAGE)
    answer = await world.questions.answer(BOB, QUESTION)
    assert (answer.status, answer.reason) == ("partial", "unsupported")
    assert answer.answer == "Parcels leave on Monday. [1]"
    assert len(_asked(world, REPAIR)) == 1


async def test_nothing_is_asked_that_is_not_switched_on() -> None:
    world = await _world("Refunds take 9 working days [1].")
    await world.add("page", PAGE)
    await world.questions.answer(BOB, QUESTION, messages=BEFORE)
    assert world.chat is not None
    assert len(world.chat.requests) == 1


class Slow(RecitingModel):
    """Answers at once; advice takes as long as it may."""

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        if any(word in str(request.view["messages"][0]["content"]) for word in (STANDALONE, SPLIT, HOP)):
            await asyncio.sleep(call.deadline.left_s())
            raise UpstreamTimeout("The request's deadline ran out.")
        return await super().chat(request, call)


async def test_steps_that_are_all_slow_leave_time_for_the_answer() -> None:
    options = RagOptions(chat_model="fast", rewrite="model", subquestions=2, hops=1, timeout_s=1.5)
    world = World(chat=Slow("It weighs 2 kg [1]."), options=options)
    await world.add("tent", "The Aurora tent weighs 2 kg.")
    answer = await world.questions.answer(BOB, "And how heavy is it?", messages=BEFORE)
    assert (answer.status, answer.model, answer.answer) == ("answered", "fast", "It weighs 2 kg. [1]")


async def test_a_repair_that_gives_up_does_not_change_why_nothing_was_said() -> None:
    world = await _world("Refunds take 9 working days [1].", {REPAIR: "NO_ANSWER"}, repair=True)
    await world.add("page", PAGE)
    answer = await world.questions.answer(BOB, QUESTION)
    assert (answer.status, answer.reason) == ("refused", "unsupported")
