"""History of evaluation runs: read by whoever ran them, scrubbed with the documents their questions stood on (law 4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from bascule.core.errors import NotFound
from bascule.core.evaluations import EvalCase, EvalRun, without_cases
from bascule.core.principals import Principal
from bascule.db.eval_tables import eval_case_documents, eval_cases, eval_runs
from bascule.db.reads import SqlReads
from bascule.db.rights import made_by, visible
from bascule.db.tables import documents
from bascule.db.values import to_json


class SqlEvaluations(SqlReads):
    """Implements `core.evaluations.EvalRuns`."""

    async def save_eval_run(self, principal: Principal, run: EvalRun) -> None:
        await self._write(lambda c: _save(c, principal, run))

    async def eval_runs(self, principal: Principal, limit: int) -> list[EvalRun]:
        query = (
            sa.select(eval_runs.c.body)
            .where(made_by(principal, eval_runs))
            .order_by(eval_runs.c.id.desc())
            .limit(limit)
        )
        return await self._read(lambda c: [_run(body) for body in c.execute(query).scalars()])

    async def eval_run(self, principal: Principal, run_id: str) -> EvalRun:
        found = await self._read(lambda c: _whole(c, principal, run_id))
        await self.note_read(principal, "evaluation.read", run_id, of=[(found.subject, found.key_id)])
        return found


def scrub_cases(connection: Connection, document_id: str) -> None:
    """What a deletion does here."""
    link = eval_case_documents.c
    touched = sa.exists().where(
        link.document_id == document_id, link.run_id == eval_cases.c.run_id, link.number == eval_cases.c.number
    )
    connection.execute(sa.update(eval_cases).where(touched).values(question="", scrubbed=True))


def _save(connection: Connection, principal: Principal, run: EvalRun) -> None:
    who = {"tenant": principal.tenant, "subject": principal.subject, "key_id": principal.key_id}
    kept = msgspec.structs.replace(without_cases(run), **who)
    row = {"id": run.id, "created_at": run.created_at, "body": to_json(kept), **who}
    connection.execute(sa.insert(eval_runs).values(row))
    seen = _readable(connection, principal, {name for case in run.cases for name in case.document_ids}, lock=True)
    cases, links = [], []
    for number, case in enumerate(run.cases):
        gone = not seen.issuperset(case.document_ids)
        bare = msgspec.structs.replace(case, question="", document_ids=(), scrubbed=False)
        question = "" if gone else case.question
        cases.append(
            {"run_id": run.id, "number": number, "body": to_json(bare), "question": question, "scrubbed": gone}
        )
        names = dict.fromkeys(case.document_ids) if not gone else ()
        links += [{"run_id": run.id, "number": number, "document_id": name} for name in names]
    if cases:
        connection.execute(sa.insert(eval_cases), cases)
    if links:
        connection.execute(sa.insert(eval_case_documents), links)


def _readable(connection: Connection, principal: Principal, ids: Iterable[str], *, lock: bool = False) -> set[str]:
    """Of these documents, those the principal may read now; locked, a delete under way ends first."""
    wanted, found = sorted(set(ids)), set[str]()
    for at in range(0, len(wanted), 500):
        query = sa.select(documents.c.id).where(documents.c.id.in_(wanted[at : at + 500]), visible(principal))
        query = query.order_by(documents.c.id)
        found.update(connection.execute(query.with_for_update(read=True) if lock else query).scalars())
    return found


def _whole(connection: Connection, principal: Principal, run_id: str) -> EvalRun:
    body = connection.execute(
        sa.select(eval_runs.c.body).where(eval_runs.c.id == run_id, made_by(principal, eval_runs))
    ).scalar()
    if body is None:
        raise NotFound("There is no such evaluation run.")
    links: dict[int, set[str]] = {}
    query = sa.select(eval_case_documents).where(eval_case_documents.c.run_id == run_id)
    for link in connection.execute(query):
        links.setdefault(link.number, set()).add(link.document_id)
    seen = _readable(connection, principal, set().union(*links.values()))
    rows = connection.execute(
        sa.select(eval_cases).where(eval_cases.c.run_id == run_id).order_by(eval_cases.c.number)
    ).all()
    return without_cases(_run(body), [_case(row, links.get(row.number, set()) <= seen) for row in rows])


def _case(row: Any, readable: bool) -> EvalCase:
    case = msgspec.json.decode(row.body, type=EvalCase)
    shown = readable and not row.scrubbed
    return msgspec.structs.replace(case, question=row.question if shown else "", scrubbed=not shown)


def _run(body: str) -> EvalRun:
    return msgspec.json.decode(body, type=EvalRun)
