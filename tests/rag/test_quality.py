"""What reads like text, and what is noise."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import pytest

from bascule.bootstrap import init, open_app
from bascule.core.connectors import SourceItem
from bascule.core.principals import system_principal
from bascule.core.rights import Rights
from bascule.rag.quality import quality
from bascule.testing.running import settings_for, until

SHARED = Path(__file__).parents[3] / "shared" / "data" / "retrieval"
PROSE = (
    "Goods may be returned within 30 days of the sale, with their receipt and in their box. The price is paid back in the way in "
    "which it was paid, which takes up to five working days. Frames (steel, 54 cm) are excepted: see https://example.com/frames."
)
CHANCE = random.Random(1)
NOISE = {
    "base64": base64.encodebytes(CHANCE.randbytes(3000)).decode(),
    "latin": CHANCE.randbytes(3000).decode("latin-1"),
    "replaced": CHANCE.randbytes(3000).decode("utf-8", "replace"),
    "symbols": "".join(CHANCE.choice("|_-=+*#~<>[]{} ") for _ in range(3000)),
    "repeated": "the same line again\n" * 2000,
    "consonants": " ".join("".join(CHANCE.choice("bcdfghjklmnpqrstvwxz") for _ in range(7)) for _ in range(100)),
}


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "Waren können binnen 30 Tagen zurückgegeben werden, mit Beleg und in ihrer Verpackung. Rahmen sind ausgenommen.",
        "返品は購入日から30日以内に承ります。領収書をお持ちください。",
        "Товар можно вернуть в течение 30 дней с чеком и в упаковке.",
        "يمكن إرجاع البضائع خلال 30 يومًا مع الإيصال.",
        "def add(one, other):\n    return one + other\n",
        "Short.",
    ],
)
def test_texts_in_any_language_read_like_text(text: str) -> None:
    assert quality(text) >= 0.7


@pytest.mark.parametrize("kind", NOISE)
def test_noise_does_not(kind: str) -> None:
    assert quality(NOISE[kind]) <= 0.3


def test_nothing_has_no_quality() -> None:
    assert quality("") == quality(" \n\t") == 0.0


def test_real_paragraphs_are_never_below_the_threshold_that_leaves_out_noise() -> None:
    if not SHARED.is_dir():
        pytest.skip("shared/data/retrieval is not here: real passages are not tried")
    for name in ("squad2", "xquad-es"):
        lines = (SHARED / name / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
        assert min(quality(json.loads(line)["text"]) for line in lines) >= 0.7


async def test_a_collection_gives_up_what_is_below_its_threshold_with_the_reason(tmp_path: Path) -> None:
    who = system_principal("default")
    rag = {"embedding_model": None, "collections": {"strict": {"min_quality": 0.3}}}
    settings = settings_for(tmp_path / "data", rag=rag)
    await init(settings)
    async with open_app(settings, work=True) as app:
        assert app.ingest is not None
        for collection, counts in (("strict", {"indexed": 1, "failed": 1}), ("usual", {"indexed": 2})):
            items = [
                SourceItem(external_id="p", name="p.txt", data=PROSE.encode()),
                SourceItem(external_id="n", name="n.txt", data=NOISE["base64"].encode()),
            ]
            job, _ = await app.ingest.take(who, collection, items, Rights.of(["public"]))

            async def ended(job_id: str = job.id) -> bool:
                return (await app.catalogue.job(who, job_id)).finished_at is not None

            await until(ended, 60, 0.05)
            done = await app.catalogue.job(who, job.id)
            assert done.counts == counts
        (lost,) = await app.catalogue.quarantine(who, 10)
        assert "min_quality" in lost.reason and lost.code == "low_quality"
        for document in await app.catalogue.documents(who, "usual", 10, None):
            assert (document.report["quality"] > 0.7) == (document.external_id == "p")
