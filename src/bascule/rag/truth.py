"""What an answer's asker could not see: for auditors, written in the audit log before it is looked at.

Ids and places only; a title is told to an auditor who may read the document.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from bascule.core.catalogue import AuditLog, Passages
from bascule.core.errors import NotFound, ScopeMissing
from bascule.core.principals import SCOPE_AUDIT, Principal
from bascule.core.traces import Trace
from bascule.rag.expect import Expectations, Verdict, having
from bascule.rag.missed import query_of
from bascule.rag.questions import Questions

_DEPTH: Final = 30  # as deep as an answer's own ranking looks


class Truth:
    """`everything` makes the principal of a tenant's background work, which may read all of it."""

    def __init__(
        self,
        passages: Passages,
        audit: AuditLog,
        wide: Questions,
        expectations: Expectations,
        everything: Callable[[str], Principal],
    ) -> None:
        self._passages = passages
        self._audit = audit
        self._wide = wide
        self._expectations = expectations
        self._everything = everything

    async def tell(self, auditor: Principal, trace: Trace, expected: str | None) -> dict[str, Any]:
        """Raises ScopeMissing without `audit`; StorageError when it cannot be written to the audit log, and nothing is told."""
        if not auditor.can(SCOPE_AUDIT):
            raise ScopeMissing(f"The truth of an answer needs the scope {SCOPE_AUDIT!r}.")
        await self._audit.audit(auditor, "answer.truth", trace.id, {"expected": bool(expected)})
        asker, all_ = asker_of(trace), self._everything(trace.tenant)
        found = await self._hidden(auditor, asker, all_, trace)
        diagnosis = trace.diagnosis
        if trace.status == "refused" and any(row["holds_it"] for row in found):
            diagnosis = "hidden by permission"
        told: dict[str, Any] = {"diagnosis": diagnosis, "hidden": found}
        if expected:
            told["expected"] = msgspec.to_builtins(await self._expected(asker, all_, trace, expected))
        return told

    async def _hidden(
        self, auditor: Principal, asker: Principal, all_: Principal, trace: Trace
    ) -> list[dict[str, Any]]:
        query = query_of(trace)
        if not query:
            return []
        asked = trace.asked
        try:
            hits = await self._wide.search(
                all_,
                query,
                collections=asked.collections if asked else None,
                where=asked.where if asked else {},
                limit=_DEPTH,
            )
        except NotFound:
            return []
        within = frozenset(h.chunk.collection_id for h in hits)
        ids = [h.chunk.id for h in hits]
        open_ = await self._passages.check(asker, ids, within) if within else {}
        own = await self._passages.check(auditor, ids, within) if within else {}
        holding = {c.id for c in having(query, hits)}
        return [
            {
                "chunk_id": h.chunk.id,
                "document_id": h.chunk.document_id,
                "place": place,
                "score": round(h.score, 4),
                "holds_it": h.chunk.id in holding,
                "title": (own[h.chunk.id].title or own[h.chunk.id].name) if h.chunk.id in own else None,
            }
            for place, h in enumerate(hits, start=1)
            if h.chunk.id not in open_
        ]

    async def _expected(self, asker: Principal, all_: Principal, trace: Trace, expected: str) -> Verdict:
        """As the asker has it, unless it is there and only closed to them."""
        own = await self._expectations.judge(asker, trace, expected)
        if own.documents:
            return own
        real = await self._expectations.judge(all_, trace, expected)
        if not real.documents:
            return own
        bare = [{"document_id": row["document_id"], "title": "", "state": row["state"]} for row in real.documents]
        why = "It is there, and whoever asked may not read it."
        return msgspec.structs.replace(
            real, diagnosis="hidden by permission", why=why, documents=bare, places=[], expected=expected
        )


def asker_of(trace: Trace) -> Principal:
    """Who asked, with the rights of that moment; a trace from before these were kept has its person's alone."""
    asked = trace.asked
    return Principal(
        tenant=trace.tenant,
        subject=trace.subject,
        key_id=trace.key_id,
        groups=asked.groups if asked else frozenset(),
        unused_groups=asked.unused_groups if asked else frozenset(),
        roles=asked.roles if asked else frozenset(),
        scopes=asked.scopes if asked else frozenset(),
        system=asked.system if asked else False,
    )
