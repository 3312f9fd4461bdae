"""Near-duplicates in lists: marked under the reader's rights alone, gone with their documents."""

from __future__ import annotations

from pathlib import Path

from bascule.bootstrap import init, open_app
from bascule.core.connectors import SourceItem
from bascule.core.principals import Principal, system_principal
from bascule.core.rights import Rights
from bascule.server.documents import seen
from bascule.testing.running import settings_for, until

WHO = system_principal("default")
ANN = Principal(tenant="default", subject="ann", groups=frozenset({"staff"}), scopes=frozenset({"ask"}))
BEN = Principal(tenant="default", subject="ben", scopes=frozenset({"ask"}))
RIVAL = Principal(tenant="rival", subject="ann", groups=frozenset({"staff"}), scopes=frozenset({"ask", "admin"}))

LEAFLET = (
    "The bascule bridge opens for tall ships at noon and again at six in the evening. Road traffic waits behind the barriers on "
    "both banks. The keeper counts the cars, rings the bell twice and lowers the span when the river is clear again. Cyclists may "
    "cross on the eastern path. In winter the bridge stays shut during storms and the ferry carries passengers instead of it. "
    "Schools may visit the machine room on weekdays, where a keeper shows the counterweight and the old steam engine that "
    "moved the span for a hundred years. Groups write to the office a month before, say how many children come, and bring their "
    "lunch. The toll house sells drawings, and on the first Sunday of May the bridge opens every hour for all who like to watch."
)
OTHER = "A lock lifts boats between two levels of a canal by letting water in through sluices and gates hold it at both ends."


async def test_what_says_nearly_the_same_is_marked_for_who_may_read_both_and_for_nobody_else(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "d", rag={"embedding_model": None})
    await init(settings)
    async with open_app(settings, work=True) as app:
        assert app.ingest is not None
        texts = {
            "leaflet": (LEAFLET, ["public"]),
            "copy": (LEAFLET.replace("tall ships", "all ships"), ["public"]),
            "secret": (LEAFLET.replace("ferry", "barge"), ["group:staff"]),
            "lock": (OTHER, ["public"]),
        }
        items = [
            SourceItem(external_id=name, name=f"{name}.txt", data=text.encode(), rights=Rights.of(allow))
            for name, (text, allow) in texts.items()
        ]
        await app.ingest.take(WHO, "docs", items, None)

        async def ended() -> bool:
            return not await app.catalogue.unfinished_jobs()

        await until(ended, 60)

        async def marked(who: Principal) -> dict[str, set[str]]:
            documents = await app.catalogue.documents(who, None, 99, None)
            names = {d.id: d.external_id for d in documents}
            return {v.external_id: {names[other] for other in v.alike} for v in await seen(app, who, documents)}

        assert await marked(BEN) == {"leaflet": {"copy"}, "copy": {"leaflet"}, "lock": set()}
        assert await marked(ANN) == {
            "leaflet": {"copy", "secret"}, "copy": {"leaflet", "secret"}, "secret": {"leaflet", "copy"}, "lock": set()
        }  # fmt: skip
        ids = {d.external_id: d.id for d in await app.catalogue.documents(WHO, None, 99, None)}
        assert await app.catalogue.alikes(BEN, [ids["secret"]]) == {}, "nor is a document one may not read a way in"
        assert await app.catalogue.alikes(RIVAL, list(ids.values())) == {}
        await app.catalogue.set_rights(WHO, ids["copy"], Rights.of(["group:staff"]))
        assert await marked(BEN) == {"leaflet": set(), "lock": set()}
        await app.ingest.delete(WHO, ids["copy"])
        assert (await marked(ANN))["leaflet"] == {"secret"}
        assert (await app.catalogue.remains([ids["copy"]]))["signatures"] == 0
