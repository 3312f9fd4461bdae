"""Which language a text is in, in the report and in searches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bascule.bootstrap import init, open_app
from bascule.core.connectors import SourceItem
from bascule.core.principals import system_principal
from bascule.core.rights import Rights
from bascule.rag.language import language
from bascule.testing.running import settings_for, until

TEXTS = {
    "en": "Goods can be returned within thirty days, if they have not been used and the invoice is with them.",
    "de": "Waren können innerhalb von dreißig Tagen zurückgegeben werden, wenn sie nicht benutzt sind und die Rechnung beiliegt.",
    "fr": "Les articles peuvent être retournés dans les trente jours, s'ils ne sont pas utilisés et avec la facture.",
    "es": "Los artículos se pueden devolver en un plazo de treinta días, siempre que no se hayan usado y con la factura.",
    "it": "Gli articoli possono essere restituiti entro trenta giorni, se non sono stati usati e con la fattura della merce.",
    "pt": "Os artigos podem ser devolvidos em trinta dias, desde que não tenham sido usados e com a fatura da compra.",
    "nl": "De goederen kunnen binnen dertig dagen worden teruggestuurd, als ze niet zijn gebruikt en met de factuur van het huis.",
    "pl": "Towar można zwrócić w ciągu trzydziestu dni, jeśli nie był używany i jest do niego faktura, która była przy zakupie.",
    "sv": "Varorna kan lämnas tillbaka inom trettio dagar om de inte har använts och fakturan är med, också efter jul.",
    "ru": "Товар можно вернуть в течение тридцати дней, если он не был в использовании и к нему есть счёт.",
    "uk": "Товар можна повернути протягом тридцяти днів, якщо він не був у користуванні та до нього є рахунок.",
    "ja": "商品は三十日以内であれば返品できます。未使用で請求書が必要です。",
    "zh": "商品在三十天内可以退货，必须未经使用并附上发票。",
    "ko": "상품은 삼십일 이내에 반품할 수 있으며 영수증이 필요합니다.",
    "el": "Τα προϊόντα επιστρέφονται εντός τριάντα ημερών με το τιμολόγιο.",
}  # fmt: skip
SHARED = Path(__file__).parents[3] / "shared" / "data" / "retrieval"


@pytest.mark.parametrize("code", TEXTS)
def test_a_text_is_told_by_its_words_or_its_script(code: str) -> None:
    assert language(TEXTS[code]) == code


@pytest.mark.parametrize(
    "text",
    ["", "12 345 | 99", "Bolt M4", "x = f(y) + 1", "error: E1047", "https://example.com/the/of/and/to/in/is/that/for"],
)
def test_what_tells_nothing_has_no_language(text: str) -> None:
    assert language(text) == ""


def test_names_and_quotations_of_another_script_do_not_decide() -> None:
    assert language(TEXTS["en"] + " The word 返品 is Japanese.") == "en"


def test_real_passages() -> None:
    if not SHARED.is_dir():
        pytest.skip("shared/data/retrieval is not here: real passages are not tried")
    for name, code in (("squad2", "en"), ("xquad-es", "es"), ("cranfield", "en")):
        found = [
            language(json.loads(line)["text"])
            for line in (SHARED / name / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        assert set(found) <= {code, ""}
        assert found.count(code) >= 0.99 * len(found)


async def test_a_search_asks_for_a_language_and_metadata_goes_first(tmp_path: Path) -> None:
    who = system_principal("default")
    settings = settings_for(tmp_path / "data", rag={"embedding_model": None})
    await init(settings)
    async with open_app(settings, work=True) as app:
        assert app.ingest is not None and app.questions is not None
        items = [
            SourceItem(external_id="en", name="en.txt", data=(TEXTS["en"] + " Ref. A17.").encode()),
            SourceItem(external_id="de", name="de.txt", data=(TEXTS["de"] + " Ref. A17.").encode()),
            SourceItem(external_id="said", name="s.txt", data=b"Ref. A17 and nothing else", metadata={"lang": "de"}),
        ]
        job, _ = await app.ingest.take(who, "handbook", items, Rights.of(["public"]))

        async def ended() -> bool:
            return (await app.catalogue.job(who, job.id)).finished_at is not None

        await until(ended, 60, 0.05)
        ids = {d.id: d.external_id for d in await app.catalogue.documents(who, "handbook", 10, None)}

        async def found(**where: str) -> set[str]:
            return {ids[hit.chunk.document_id] for hit in await app.questions.search(who, "A17", where=where)}

        assert await found() == {"en", "de", "said"}
        assert await found(lang="de") == {"de", "said"}
        assert await found(lang="en") == {"en"}
        assert await found(lang="fr") == set()
