"""Feedback on both engines: on one's own answers alone, and gone with their documents."""

import pytest

from bascule.core.errors import NotFound
from bascule.core.feedback import Feedback
from bascule.core.ids import new_id
from bascule.core.traces import Trace
from bascule.db.values import now_text
from bascule.testing.catalogue_world import PUBLIC, World, admin, new_document, person, service

ANN, BEN = person("ann"), person("ben")


async def answered(catalogue, who, *documents, question="How wide is the span?"):
    trace = Trace(
        id=new_id(), tenant=who.tenant, subject=who.subject, key_id=who.key_id, created_at=now_text(), question=question,
        answer="Ten metres.", status="answered", reason=None, model="extractive", collections=(), stages=(), chunk_ids=(),
        document_ids=documents, diagnosis="",
    )  # fmt: skip
    assert await catalogue.save_trace(trace)
    return trace.id


async def indexed(world, name):
    job = await world.accept(world.system, new_document(name, "text " + name, PUBLIC))
    (item,) = await world.claim(job)
    await world.commit(item, "text " + name)
    return item.document_id


def bad(answer, correction="Twelve metres."):
    return Feedback(answer_id=answer, rating=-1, correction=correction, note="measured")


async def test_feedback_is_on_ones_own_answers_and_the_last_word_counts(catalogue):
    answer = await answered(catalogue, ANN)
    kept = await catalogue.give_feedback(ANN, bad(answer))
    assert (kept.rating, kept.correction, kept.scrubbed) == (-1, "Twelve metres.", False)
    await catalogue.give_feedback(ANN, bad(answer, "Thirteen metres."))
    for who in (ANN, admin()):
        assert [(c.question, c.answer) for c in await catalogue.candidates(who, 9)] == [
            ("How wide is the span?", ("Thirteen metres.",))
        ]
    for other in (BEN, admin(), service("k"), person("ann", tenant="rival")):
        with pytest.raises(NotFound):
            await catalogue.give_feedback(other, bad(answer))
    for other in (BEN, service("k"), admin("rival"), person("ann", tenant="rival")):
        assert await catalogue.candidates(other, 9) == []


async def test_keys_that_speak_for_nobody_do_not_speak_for_each_other(catalogue):
    answer = await answered(catalogue, service("one"))
    with pytest.raises(NotFound):
        await catalogue.give_feedback(service("two"), bad(answer))
    assert (await catalogue.give_feedback(service("one"), bad(answer))).rating == -1


async def test_a_deletion_takes_the_texts_with_it(catalogue):
    world = World(catalogue)
    gone, stays = await indexed(world, "a"), await indexed(world, "b")
    both = await answered(catalogue, ANN, gone, stays)
    other = await answered(catalogue, ANN, stays, question="How high?")
    for answer in (both, other):
        await catalogue.give_feedback(ANN, bad(answer))
    assert (await catalogue.remains([gone]))["feedback"] == 1
    await catalogue.delete_document(world.system, gone)
    assert (await catalogue.remains([gone]))["feedback"] == 0
    assert [c.question for c in await catalogue.candidates(admin(), 9)] == ["How high?"]
    late = await catalogue.give_feedback(ANN, bad(both))
    assert (late.correction, late.note, late.scrubbed) == ("", "", True), "said after the document had gone"
    assert (await catalogue.remains([gone]))["feedback"] == 0
