from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from bascule.core.documents import Hit, VisibleChunk
from bascule.core.errors import ConfigError
from bascule.core.principals import Principal
from bascule.rag import priors
from bascule.rag.options import RagOptions
from bascule.rag.priors import Priors
from bascule.testing.rag_fakes import World
from bascule.testing.running import settings_for

NOW = datetime(2026, 11, 28, tzinfo=UTC)
BOB = Principal(tenant="t", subject="bob")


async def _hits(**facts: dict[str, object]) -> list[Hit]:
    """One passage each, alike but for the facts."""
    world = World()
    for name in facts:
        await world.add(name, "Refunds take 5 working days.", title="Refunds")
    hits = await world.questions.search(BOB, "How long do refunds take?")
    return [
        msgspec.structs.replace(h, score=0.8, chunk=msgspec.structs.replace(h.chunk, **facts[h.chunk.document_id]))
        for h in hits
    ]


def _dated(days: float) -> dict[str, object]:
    return {"metadata": {"modified_at": (NOW - timedelta(days=days)).isoformat()}}


async def test_the_older_of_two_that_answer_alike_comes_after() -> None:
    hits = await _hits(old=_dated(300), new=_dated(3), middle=_dated(30))
    found = priors.weigh(hits, Priors(half_life_days={"*": 30}), NOW)
    assert [h.chunk.document_id for h in found] == ["new", "middle", "old"]
    assert found[1].parts["freshness"] == pytest.approx(0.75)
    assert found[1].score == pytest.approx(0.8 * 0.75)


async def test_age_never_costs_more_than_half_and_a_date_to_come_gains_nothing() -> None:
    hits = await _hits(ancient=_dated(100_000), tomorrow=_dated(-1))
    found = priors.weigh(hits, Priors(half_life_days={"*": 1}), NOW)
    assert [h.parts["freshness"] for h in found] == [1.0, pytest.approx(priors.OLD_SHARE)]


@pytest.mark.parametrize(
    ("facts", "age_days"),
    [
        ({"metadata": {"published_at": "2026-11-18", "modified_at": "2026-11-28T00:00:00+00:00"}}, 10),
        ({"metadata": {"modified_at": "no date"}, "updated_at": "2026-11-08T00:00:00+00:00"}, 20),
        ({"metadata": {"date": 20261118}, "updated_at": ""}, 0),
    ],
)
async def test_the_documents_own_date_counts_first(facts: dict[str, object], age_days: int) -> None:
    (hit,) = priors.weigh(await _hits(one=facts), Priors(half_life_days={"*": 10}), NOW)
    assert hit.parts["freshness"] == pytest.approx(0.5 + 0.5 * 0.5 ** (age_days / 10))


async def test_a_collection_has_its_own_half_life_and_a_source_its_trust() -> None:
    hits = await _hits(
        news={"collection": "news", "source": "feed", **_dated(10)}, docs={"source": "upload", **_dated(10)}
    )
    found = priors.weigh(hits, Priors(half_life_days={"news": 10}, trust={"feed": 0.5, "*": 0.9}), NOW)
    by_name = {h.chunk.document_id: h for h in found}
    assert by_name["news"].score == pytest.approx(0.8 * 0.75 * 0.5)
    assert by_name["docs"].score == pytest.approx(0.8 * 0.9)
    assert "freshness" not in by_name["docs"].parts


async def test_nothing_configured_changes_nothing() -> None:
    hits = await _hits(a=_dated(1), b=_dated(900))
    assert priors.weigh(hits, Priors(), NOW) == hits


async def test_priors_reach_search_its_trace_and_never_whom_it_shows() -> None:
    world = World(options=RagOptions(prompt_key=b"k", priors=Priors(trust={"upload": 0.5})))
    await world.add("open", "Refunds take 5 working days.")
    await world.add("secret", "Refunds take 5 working days, says the board.", allow=["group:board"])
    (hit,) = await world.questions.search(BOB, "How long do refunds take?")
    assert (hit.chunk.document_id, hit.parts["trust"]) == ("open", 0.5)
    plain = World(options=RagOptions(prompt_key=b"k"))
    await plain.add("open", "Refunds take 5 working days.")
    (alone,) = await plain.questions.search(BOB, "How long do refunds take?")
    assert hit.score == pytest.approx(alone.score / 2)


@pytest.mark.parametrize("rag", [{"half_life_days": {"docs": 0}}, {"trust": {"upload": 0}}, {"trust": {"upload": 1.5}}])
def test_a_prior_that_would_hide_or_lift_is_refused(rag: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises((ConfigError, ValueError)):
        settings_for(tmp_path, rag=rag)


def test_of_a_chunk_without_any_date() -> None:
    chunk = msgspec.structs.replace(_CHUNK, updated_at="", metadata={})
    assert priors.freshness(chunk, 10, NOW) == 1.0


_CHUNK = VisibleChunk(
    id="c",
    document_id="d",
    collection_id="x",
    collection="docs",
    title="",
    name="d",
    source="upload",
    text="",
    heading_path=(),
    start=0,
    end=0,
    page=None,
    ordinal=0,
    tokens=0,
    version=1,
    metadata={},
    updated_at="",
)
