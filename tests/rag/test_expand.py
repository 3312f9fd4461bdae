"""What stands around a passage, shown within the budget and the reader's rights."""

from __future__ import annotations

import msgspec

from bascule.core.documents import VisibleChunk
from bascule.core.principals import Principal
from bascule.rag.expand import expand
from bascule.rag.options import RagOptions
from bascule.rag.prompt import cost, pack
from bascule.testing.rag_fakes import World

BOB = Principal(tenant="t", subject="bob")
PARTS = ["Opening hours are long.", "Refunds take five days.", "They need a receipt.", "Helmets are excepted."]


async def expanded(world: World, chunk_id: str, around: int, budget: int = 3000) -> list[str]:
    chunk = await world.catalogue.passage(BOB, chunk_id)
    packed = pack([chunk], most=8, budget_tokens=budget)
    made = await expand(world.catalogue, BOB, packed, around=around, budget_tokens=budget)
    assert made.tokens == sum(map(cost, made.chosen))
    return [c.text for c in made.chosen]


async def test_what_stands_around_a_passage_is_shown_while_there_is_room() -> None:
    world = World()
    ids = await world.add("terms", PARTS)
    assert await expanded(world, ids[1], 0) == [PARTS[1]]
    assert await expanded(world, ids[1], 1) == PARTS[:3]
    assert await expanded(world, ids[1], 2) == PARTS
    room = cost(await world.catalogue.passage(BOB, ids[1])) + cost(await world.catalogue.passage(BOB, ids[0]))
    assert await expanded(world, ids[1], 2, room) == PARTS[:2]


async def test_nothing_of_another_section_or_another_document_comes_in() -> None:
    world = World()
    ids = await world.add("terms", PARTS[:1], heading_path=("Hours",))
    await world.add("others", PARTS[1:], heading_path=("Hours",))
    assert await expanded(world, ids[0], 5) == [PARTS[0]]
    home = world.catalogue.documents["terms"].chunks
    home.extend([_moved(home[0], 1, ("Hours",)), _moved(home[0], 2, ("Refunds",))])
    assert len(await expanded(world, ids[0], 5)) == 2


async def test_of_a_document_closed_meanwhile_nothing_is_added() -> None:
    world = World()
    ids = await world.add("terms", PARTS, allow=["user:bob"])
    chunk = await world.catalogue.passage(BOB, ids[1])
    packed = pack([chunk], most=8, budget_tokens=3000)
    ann = Principal(tenant="t", subject="ann")
    made = await expand(world.catalogue, ann, packed, around=2, budget_tokens=3000)
    assert made.chosen == (chunk,)


async def test_an_answer_reads_them_and_its_trace_names_them() -> None:
    for around, count in ((0, 1), (1, 3)):
        world = World(options=RagOptions(expand=around))
        await world.add("terms", PARTS)
        answer = await world.questions.answer(BOB, "How many days do refunds take?")
        (trace,) = [t for key, t in world.catalogue.saved.items() if key == answer.id]
        prompt = next(stage for stage in trace.stages if stage.name == "prompt")
        assert len(prompt.facts["chunk_ids"]) == count


def _moved(chunk: VisibleChunk, ordinal: int, path: tuple[str, ...]) -> VisibleChunk:
    return msgspec.structs.replace(chunk, id=f"c{ordinal}", ordinal=ordinal, heading_path=path)
