"""Call records: who reads them, what is kept of texts, and how both end."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from bascule.core.calls import Attempt, CallRecord, KeptText
from bascule.core.catalogue import CallFilter
from bascule.core.errors import NotFound
from bascule.core.ids import new_id
from bascule.core.principals import SCOPE_AUDIT, Principal
from bascule.db.catalogue import SqlCatalogue
from bascule.db.tables import call_documents, call_texts
from bascule.testing.catalogue_world import World, admin, person

ANN, BEN = person("ann"), person("ben")
AUDITOR = Principal(tenant="acme", subject="ann", scopes=frozenset({SCOPE_AUDIT}))


def record(at_s: float, subject: str = "ann", text: KeptText | None = None, **fields: Any) -> CallRecord:
    given: dict[str, Any] = {"model": "fast", "outcome": "ok", "key_id": "k-" + subject, **fields}
    return CallRecord(
        id=new_id(), tenant="acme", subject=subject, operation="chat", provider="p", provider_model="m", started_at_s=at_s,
        latency_s=0.1, first_byte_s=None, input_tokens=1, output_tokens=2, cost_usd=None, cache="MISS", cache_reason="",
        error="", attempts=(Attempt(provider="p", model="m", latency_s=0.05, after_s=0.01),), text=text, **given,
    )  # fmt: skip


async def rows(catalogue: SqlCatalogue) -> tuple[int, int]:
    def count(connection: sa.Connection) -> tuple[int, int]:
        tables = (call_texts, call_documents)
        a, b = (connection.execute(sa.select(sa.func.count()).select_from(t)).scalar_one() for t in tables)
        return a, b

    return await catalogue._call_database.read(count)


async def test_records_are_filtered_and_paged_newest_first(catalogue: SqlCatalogue) -> None:
    made = [record(float(n), model="a_b" if n % 2 else "aXb", outcome="ok" if n < 4 else "error") for n in range(6)]
    await catalogue.add_calls(made)
    assert await catalogue.calls(ANN, 2) == [made[5], made[4]]
    assert await catalogue.calls(ANN, 9, CallFilter(before=made[4].id)) == made[3::-1]
    assert await catalogue.calls(ANN, 9, CallFilter(model="a_b")) == made[5::-2]
    assert await catalogue.calls(ANN, 9, CallFilter(outcome="error", key_id="k-ann")) == [made[5], made[4]]
    assert await catalogue.calls(BEN, 9) == await catalogue.calls(admin("other"), 9) == []


async def test_callers_without_a_name_or_a_key_see_nothing_of_each_other(catalogue: SqlCatalogue) -> None:
    await catalogue.add_calls([record(1.0, subject="", key_id="")])
    assert await catalogue.calls(Principal(tenant="acme"), 9) == []


async def test_a_kept_text_is_shown_to_the_scope_audit_alone_and_never_in_lists(catalogue: SqlCatalogue) -> None:
    kept = record(1.0, text=KeptText(prompt="the prompt", answer="the answer"))
    await catalogue.add_calls([kept])
    assert (await catalogue.call(ANN, kept.id)).text is None
    assert (await catalogue.call(AUDITOR, kept.id)).text == kept.text
    assert [r.text for r in await catalogue.calls(admin(), 9)] == [None]
    for principal in (BEN, admin("other")):
        with pytest.raises(NotFound):
            await catalogue.call(principal, kept.id)


async def test_a_text_goes_with_any_document_it_holds_something_of(catalogue: SqlCatalogue) -> None:
    one, other = [(await World(catalogue).add(name, "text")).id for name in ("one", "other")]
    both = record(1.0, text=KeptText(prompt="both", answer="", document_ids=(one, other)))
    single = record(2.0, text=KeptText(prompt="other", answer="", document_ids=(other,)))
    await catalogue.add_calls([both, single])
    assert await rows(catalogue) == (2, 3)
    await catalogue.delete_document(admin(), one)
    # Hidden at the commit already, removed by the sweep that follows it.
    assert (await catalogue.call(admin(), both.id)).text is None
    assert (await catalogue.call(admin(), single.id)).text == single.text
    await catalogue.scrub_call_texts([one])
    assert await rows(catalogue) == (1, 1)
    late = record(3.0, text=KeptText(prompt="late", answer="", document_ids=(one,)))
    await catalogue.add_calls([late])
    assert await rows(catalogue) == (1, 1) and await catalogue.call(admin(), late.id)
    await catalogue.delete_document(admin(), other)
    await catalogue.scrub_dead_texts()
    assert await rows(catalogue) == (0, 0)


async def test_records_past_their_time_are_forgotten_with_their_texts(catalogue: SqlCatalogue) -> None:
    old = record(1.0, text=KeptText(prompt="old", answer=""))
    new = record(9.0)
    await catalogue.add_calls([old, new])
    assert await catalogue.forget_calls(5.0) == 1
    assert await catalogue.calls(admin(), 9) == [new] and await rows(catalogue) == (0, 0)
