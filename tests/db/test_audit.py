"""The audit log: append-only and chained, on each engine."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from bascule.core.errors import ScopeMissing, StorageError
from bascule.db.catalogue import SqlCatalogue
from bascule.db.engine import Database
from bascule.testing.catalogue_world import World, admin, new_document, person


async def test_rows_are_chained_in_the_order_they_were_written(catalogue: SqlCatalogue) -> None:
    await asyncio.gather(*(catalogue.audit(person("ann"), "act", f"t{n}", {"n": n}) for n in range(10)))
    rows = await catalogue.audit_rows(admin(), 100)
    assert sorted(row.target for row in rows) == sorted(f"t{n}" for n in range(10))
    assert (rows[0].subject, rows[0].key_id, rows[0].act) == ("ann", "key-ann", "act")
    assert await catalogue.audit_break() is None


@pytest.mark.parametrize("statement", ["UPDATE audit_log SET target = 'b'", "DELETE FROM audit_log"])
async def test_the_database_refuses_to_change_or_remove_a_row(
    catalogue: SqlCatalogue, urls: tuple[str, str], statement: str
) -> None:
    await catalogue.audit(admin(), "act", "a", {})
    database = Database(urls[0])
    with pytest.raises(StorageError):
        await database.write(lambda c: c.execute(sa.text(statement)))
    await database.close()
    assert [row.target for row in await catalogue.audit_rows(admin(), 10)] == ["a"]


async def test_a_row_changed_behind_the_triggers_is_found(catalogue: SqlCatalogue, urls: tuple[str, str]) -> None:
    for n in range(3):
        await catalogue.audit(admin(), "act", f"t{n}", {})
    database = Database(urls[0])
    trigger = "audit_log_no_update" if database.sqlite else "audit_log_append_only ON audit_log"
    for statement in (f"DROP TRIGGER {trigger}", "UPDATE audit_log SET target = 'forged' WHERE target = 't1'"):
        await database.write(lambda c, text=statement: c.execute(sa.text(text)))
    await database.close()
    first = {row.target: row.seq for row in await catalogue.audit_rows(admin(), 10)}
    assert await catalogue.audit_break() == first["forged"]


async def test_rows_cut_off_at_the_end_are_noticed_by_a_head_noted_earlier(
    catalogue: SqlCatalogue, urls: tuple[str, str]
) -> None:
    assert (await catalogue.audit_chain()).whole
    for n in range(3):
        await catalogue.audit(admin(), "act", f"t{n}", {})
    noted = await catalogue.audit_chain()
    assert (noted.rows, noted.whole) == (3, True)
    exported = await catalogue.audit_export(0, 2) + await catalogue.audit_export(2, 2)
    assert [row["target"] for row in exported] == ["t0", "t1", "t2"] and exported[-1]["hash"] == noted.head
    database = Database(urls[0])
    trigger = "audit_log_no_delete" if database.sqlite else "audit_log_append_only ON audit_log"
    for statement in (f"DROP TRIGGER {trigger}", "DELETE FROM audit_log WHERE target = 't2'"):
        await database.write(lambda c, text=statement: c.execute(sa.text(text)))
    await database.close()
    assert (await catalogue.audit_chain()).whole, "what is left follows from its beginning"
    assert not (await catalogue.audit_chain(noted.head)).whole


async def test_the_log_is_read_by_admins_of_its_tenant_only(catalogue: SqlCatalogue) -> None:
    await catalogue.audit(admin(), "act", "a", {})
    assert await catalogue.audit_rows(admin("other"), 10) == []
    with pytest.raises(ScopeMissing):
        await catalogue.audit_rows(person("ann"), 10)


async def test_every_act_on_a_job_is_in_the_audit_log(catalogue: SqlCatalogue) -> None:
    world = World(catalogue)
    job = await world.accept(person("ann"), new_document("a", "x"))
    await catalogue.pause_job(person("ann"), job.id)
    await catalogue.cancel_job(admin(), job.id)
    await catalogue.pause_jobs(admin(), "source", "upload")
    rows = await catalogue.audit_rows(admin(), 10)
    assert [(row.act, row.target, row.subject) for row in reversed(rows)] == [
        ("job.pause", job.id, "ann"),
        ("job.cancel", job.id, "root"),
        ("jobs.pause", "source:upload", "root"),
    ]
    assert await catalogue.audit_break() is None
