"""History of evaluations on both engines: whose it is, and that its questions go with the documents they stood on."""

import pytest

from bascule.core.errors import NotFound
from bascule.core.evaluations import EvalCase, EvalRun, case_key
from bascule.core.ids import new_id
from bascule.core.rights import Rights
from bascule.db.values import now_text
from bascule.testing.catalogue_world import PUBLIC, World, admin, new_document, person, service

ANN, BEN = person("ann"), person("ben")


def made(*cases):
    figures = {"answer_score": 0.5, "mrr": None}
    return EvalRun(
        id=new_id(),
        tenant="",
        subject="",
        key_id="",
        created_at=now_text(),
        kind="golden",
        name="s",
        figures=figures,
        cases=cases,
    )


def case(question, *documents):
    return EvalCase(key=case_key(question), question=question, figures={"score": 1}, document_ids=documents)


async def indexed(world, name, rights=PUBLIC):
    job = await world.accept(world.system, new_document(name, "text " + name, rights))
    (item,) = await world.claim(job)
    await world.commit(item, "text " + name)
    return item.document_id


async def test_runs_are_read_by_whoever_made_them_and_by_administrators(catalogue):
    run = made(case("one"))
    await catalogue.save_eval_run(ANN, run)
    assert [found.id for found in await catalogue.eval_runs(ANN, 10)] == [run.id]
    whole = await catalogue.eval_run(ANN, run.id)
    assert (whole.subject, whole.figures, whole.cases[0].question) == ("ann", run.figures, "one")
    assert (await catalogue.eval_run(admin(), run.id)).cases == whole.cases
    for other in (BEN, service("k"), admin("rival"), person("ann", tenant="rival")):
        assert await catalogue.eval_runs(other, 10) == []
        with pytest.raises(NotFound):
            await catalogue.eval_run(other, run.id)


async def test_a_deletion_takes_the_questions_with_it_and_leaves_the_figures(catalogue):
    world = World(catalogue)
    gone, stays = await indexed(world, "a"), await indexed(world, "b")
    run = made(case("of a", gone), case("of both", stays, gone), case("of b", stays), case("of none"))
    await catalogue.save_eval_run(ANN, run)
    await catalogue.delete_document(world.system, gone)
    assert (await catalogue.remains([gone]))["evaluations"] == 0
    for reader in (ANN, admin()):
        found = (await catalogue.eval_run(reader, run.id)).cases
        assert [each.question for each in found] == ["", "", "of b", "of none"]
        assert [each.scrubbed for each in found] == [True, True, False, False]
        assert [each.figures for each in found] == [{"score": 1}] * 4
    late = made(case("late", gone))
    await catalogue.save_eval_run(ANN, late)
    assert (await catalogue.eval_run(ANN, late.id)).cases[0].question == "", "a write that loses against its deletion"


async def test_a_question_left_behind_is_counted(catalogue):
    """Without this the audit of deletions would pass on a place it does not look at."""
    world = World(catalogue)
    document = await indexed(world, "a")
    await catalogue.save_eval_run(ANN, made(case("of a", document)))
    assert (await catalogue.remains([document]))["evaluations"] == 1


async def test_who_lost_the_right_to_a_document_loses_the_question_until_it_is_given_back(catalogue):
    world = World(catalogue)
    document = await indexed(world, "a")
    run = made(case("of a", document))
    await catalogue.save_eval_run(ANN, run)
    await catalogue.set_rights(world.system, document, Rights.of(["group:hr"]))
    assert [(c.question, c.scrubbed) for c in (await catalogue.eval_run(ANN, run.id)).cases] == [("", True)]
    assert (await catalogue.eval_run(admin(), run.id)).cases[0].question == "of a"
    await catalogue.set_rights(world.system, document, PUBLIC)
    assert (await catalogue.eval_run(ANN, run.id)).cases[0].question == "of a"
