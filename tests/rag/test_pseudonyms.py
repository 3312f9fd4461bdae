"""Personal data under pseudonyms: the same for the same value within a tenant, told back only to who may, and audited."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from bascule.bootstrap import App, init, open_app
from bascule.core.connectors import SourceItem
from bascule.core.errors import InvalidRequest, NotFound, ScopeMissing
from bascule.core.principals import SCOPE_ASK, SCOPE_AUDIT, Principal, system_principal
from bascule.core.pseudonyms import PSEUDONYM, pseudonym, tenant_key
from bascule.core.rights import Rights
from bascule.rag.redact import redact
from bascule.testing.running import settings_for, until

KEY = tenant_key(b"k" * 32, "acme")
TOKEN = "sk-proj-abcDEF123ghiJKL456mnoPQR789"
SCOPES = frozenset({SCOPE_ASK, SCOPE_AUDIT})
AUDITOR = Principal(tenant="default", subject="eve", groups=frozenset({"hr"}), scopes=SCOPES, key_id="e")


def test_one_value_has_one_pseudonym_however_it_is_written_and_another_in_every_tenant() -> None:
    card = {pseudonym(KEY, "card", text) for text in ("4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111")}
    assert len(card) == 1 and PSEUDONYM.fullmatch(card.pop())
    assert pseudonym(KEY, "email", "Ann@Example.com") == pseudonym(KEY, "email", "ann@example.com")
    assert pseudonym(KEY, "email", "a.b@example.com") != pseudonym(KEY, "email", "ab@example.com")
    assert pseudonym(KEY, "email", "ann@example.com") != pseudonym(
        tenant_key(b"k" * 32, "other"), "email", "ann@example.com"
    )


def test_secrets_are_masked_and_what_stands_for_a_value_is_not_found_again() -> None:
    text = redact(f"Write to ann@example.com or call +44 20 7946 0958, key {TOKEN}", Counter(), key=KEY)
    assert TOKEN not in text and "[key]" in text and len(PSEUDONYM.findall(text)) == 2
    assert redact(text, Counter(), key=KEY) == text


async def add(app: App, external_id: str, text: str) -> str:
    assert app.ingest is not None
    item = SourceItem(external_id=external_id, name=f"{external_id}.txt", data=text.encode())
    job, _ = await app.ingest.take(system_principal("default"), "staff", [item], Rights.of(["group:hr"]))

    async def ended() -> bool:
        return (await app.catalogue.job(system_principal("default"), job.id)).finished_at is not None

    await until(ended, 60, 0.05)
    return (await app.catalogue.job(system_principal("default"), job.id)).items[0].document_id


async def test_a_value_is_told_to_who_may_read_the_document_and_has_the_scope_and_is_audited(tmp_path: Path) -> None:
    rag = {"embedding_model": None, "collections": {"staff": {"redact": "pseudonymise"}}}
    settings = settings_for(tmp_path / "data", rag=rag)
    await init(settings)
    async with open_app(settings, work=True) as app:
        assert app.ingest is not None
        first = await add(app, "one", "Ann is at ann@example.com and rides a bicycle.")
        second = await add(app, "two", "Ask ANN@example.com about wheels.")
        texts = [(await app.catalogue.document_chunks(AUDITOR, each))[0].text for each in (first, second)]
        named = [re.search(PSEUDONYM, text) for text in texts]
        assert named[0] and named[1] and named[0].group() == named[1].group(), "one person is one person in both"
        assert "ann@" not in " ".join(texts).lower()
        wanted = named[0].group()
        assert await app.ingest.reveal(AUDITOR, first, wanted) == "ann@example.com"
        assert await app.ingest.reveal(AUDITOR, second, wanted) == "ANN@example.com"
        rows = [
            row
            for row in await app.catalogue.audit_rows(system_principal("default"), 20)
            if row.act == "pseudonym.reveal"
        ]
        assert [(row.target, row.subject) for row in rows] == [(second, "eve"), (first, "eve")]
        reader = Principal(tenant="default", subject="eve", groups=frozenset({"hr"}), scopes=frozenset({SCOPE_ASK}))
        outsider = Principal(tenant="default", subject="sam", scopes=AUDITOR.scopes)
        for who, document_id, asked, error in (
            (reader, first, wanted, ScopeMissing),
            (outsider, first, wanted, NotFound),
            (AUDITOR, first, "[email:aaaaaaaaaa]", NotFound),
            (AUDITOR, first, "ann", InvalidRequest),
        ):
            with pytest.raises(error):
                await app.ingest.reveal(who, document_id, asked)
        await app.ingest.delete(system_principal("default"), first)
        with pytest.raises(NotFound):
            await app.ingest.reveal(AUDITOR, first, wanted)
