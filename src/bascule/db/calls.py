"""Call records, in a database of their own: they are many, and the catalogue's writer must not wait for them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from bascule.core.calls import CallRecord
from bascule.core.principals import Principal
from bascule.db.engine import Database, insert_new
from bascule.db.tables import calls as call_table
from bascule.db.values import to_json


class SqlCalls:
    _call_database: Database

    async def add_calls(self, records: Sequence[CallRecord]) -> None:
        rows = [
            {
                "id": record.id,
                "tenant": record.tenant,
                "subject": record.subject,
                "key_id": record.key_id,
                "started_at_s": record.started_at_s,
                "body": to_json(record),
            }
            for record in records
        ]
        await self._call_database.write(lambda c: insert_new(c, call_table, rows))

    async def calls(self, principal: Principal, limit: int) -> list[CallRecord]:
        """Newest first: the principal's own, or all of the tenant's for an admin."""
        query = sa.select(call_table.c.body).where(call_table.c.tenant == principal.tenant)
        if not principal.is_admin:
            own = call_table.c.key_id == principal.key_id
            if principal.subject:
                own = sa.or_(own, call_table.c.subject == principal.subject)
            query = query.where(own)
        query = query.order_by(call_table.c.started_at_s.desc(), call_table.c.id.desc()).limit(limit)
        return await self._call_database.read(
            lambda c: [msgspec.json.decode(body, type=CallRecord) for body in c.execute(query).scalars()]
        )
