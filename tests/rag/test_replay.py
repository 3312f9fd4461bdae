"""The same question again, under whose rights, and what two answers have apart."""

from __future__ import annotations

import msgspec
import pytest

from bascule.core.errors import Conflict, NotFound
from bascule.core.principals import SCOPE_ADMIN, SCOPE_ASK, Principal
from bascule.core.rights import Rights
from bascule.testing.explaining import ExplainedWorld

BOB = Principal(tenant="t", subject="bob", groups=frozenset({"shop"}), scopes=frozenset({SCOPE_ASK}))
EVE = Principal(tenant="t", subject="eve", scopes=frozenset({SCOPE_ASK}))
ADMIN = Principal(tenant="t", subject="root", scopes=frozenset({SCOPE_ADMIN}))
QUESTION = "How long do refunds take?"


async def _world() -> tuple[ExplainedWorld, str]:
    world = ExplainedWorld()
    await world.add("page", "Refunds take 5 working days.", title="Refunds")
    return world, (await world.questions.answer(BOB, QUESTION)).id


async def test_nothing_is_different_while_nothing_has_changed() -> None:
    world, first = await _world()
    again, diff = await world.explanations.replay(BOB, first)
    assert again.id != first
    assert diff["same"] and diff["changed"] == diff["stages"] == {}


async def test_a_new_document_is_seen_by_the_replay_and_told_by_the_difference() -> None:
    world, first = await _world()
    (chunk,) = await world.add("new", "Refunds take 3 working days, how long they take was cut.", title="Refunds now")
    _, diff = await world.explanations.replay(BOB, first)
    assert not diff["same"]
    assert diff["stages"]["fuse"]["hits"]["came"] == [chunk]
    assert diff["changed"]["answer"][0] == "Refunds take 5 working days. [1]"
    assert any(word.startswith("+") for word in diff["answer"])


async def test_an_administrator_replays_under_the_rights_the_asker_had() -> None:
    world, first = await _world()
    await world.add("secret", "Refunds of directors take 1 working day, how long is secret.", allow=["group:hr"])
    (open_,) = await world.add("shop", "Refunds in the shop take 2 working days.", allow=["group:shop"])
    again, _ = await world.explanations.replay(ADMIN, first)
    trace = world.library.saved[again.id]
    assert trace.subject == "bob"
    assert open_ in trace.chunk_ids
    assert "secret" not in trace.document_ids
    with pytest.raises(NotFound):
        await world.explanations.replay(EVE, first)


async def test_the_asker_replays_with_todays_rights() -> None:
    world, first = await _world()
    await world.add("shop", "Refunds in the shop take 2 working days.", allow=["group:shop"])
    left = msgspec.structs.replace(BOB, groups=frozenset())
    again, _ = await world.explanations.replay(left, first)
    assert "shop" not in world.library.saved[again.id].document_ids


async def test_an_answer_whose_document_is_gone_cannot_be_asked_again() -> None:
    world, first = await _world()
    trace = world.library.saved[first]
    world.library.saved[first] = msgspec.structs.replace(trace, question="", answer="", stages=(), scrubbed=True)
    with pytest.raises(Conflict):
        await world.explanations.replay(BOB, first)


async def test_a_difference_shows_nothing_of_what_its_reader_lost_the_right_to() -> None:
    world, first = await _world()
    other, _ = await world.explanations.replay(BOB, first)
    (chunk,) = world.library.documents["page"].chunks
    world.library.documents["page"].rights = Rights.of(["group:hr"])
    diff = msgspec.json.encode(await world.explanations.diff(BOB, first, other.id)).decode()
    assert "5 working" not in diff and chunk.id not in diff
    with pytest.raises(NotFound):
        await world.explanations.diff(EVE, first, other.id)
