"""What happens to personal data is each collection's own: masked, dropped or kept, through the whole of ingestion."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from bascule.bootstrap import App, init, open_app
from bascule.core.connectors import SourceItem
from bascule.core.documents import Job
from bascule.core.principals import system_principal
from bascule.core.rights import Rights
from bascule.settings import RagSettings
from bascule.testing.running import settings_for, until

WHO = system_principal("default")
TOKEN = "sk-proj-abcDEF123ghiJKL456mnoPQR789"
TEXT = f"Steel frames are sold here.\n\nWrite to ann@example.com about frames.\n\nThe key for frames is {TOKEN}.\n"


async def taken(app: App, collection: str, text: str = TEXT) -> Job:
    assert app.ingest is not None
    item = SourceItem(external_id=collection, name="a.txt", data=text.encode())
    job, _ = await app.ingest.take(WHO, collection, [item], Rights.of(["public"]))

    async def ended() -> bool:
        return (await app.catalogue.job(WHO, job.id)).finished_at is not None

    await until(ended, 60, 0.05)
    return await app.catalogue.job(WHO, job.id)


async def test_each_collection_has_its_own_way_and_secrets_are_masked_in_all(tmp_path: Path) -> None:
    modes = {"dropped": {"redact": "drop"}, "kept": {"redact": "keep"}}
    settings = settings_for(tmp_path / "data", rag={"embedding_model": None, "collections": modes})
    await init(settings)
    async with open_app(settings, work=True) as app:
        found = {}
        for name in ("usual", "dropped", "kept"):
            job = await taken(app, name)
            document = await app.catalogue.document(WHO, job.items[0].document_id)
            chunks = await app.catalogue.document_chunks(WHO, document.id)
            found[name] = (" ".join(chunk.text for chunk in chunks), document.report["redacted"])
        assert all(TOKEN not in text and "[key]" in text for text, _ in found.values())
        assert "[email]" in found["usual"][0] and found["usual"][1] == {"email": 1, "key": 1}
        assert "Write to" not in found["dropped"][0] and "Steel frames" in found["dropped"][0]
        assert found["dropped"][1] == {"left_out_email": 1, "key": 1}
        assert "ann@example.com" in found["kept"][0] and found["kept"][1] == {"key": 1}
        lost = await taken(app, "dropped", "Write to ann@example.com.")
        assert lost.state == "failed" and "personal data" in lost.items[0].reason


def test_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError):
        RagSettings(collections={"x": {"redact": "encrypt"}})  # type: ignore[dict-item]
