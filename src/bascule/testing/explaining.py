"""A `World` whose answers can be explained: documents by name, an audit log that can fail, and the deeper search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bascule.core.documents import Document, DocumentState, VisibleChunk
from bascule.core.errors import StorageError
from bascule.core.principals import Principal, system_principal
from bascule.rag.explanations import Explanations, deeper
from bascule.rag.options import RagOptions
from bascule.rag.questions import Questions
from bascule.testing.rag_fakes import FakeCatalogue, FakeDocument, World


class FakeLibrary(FakeCatalogue):
    """`states` are documents' states and reasons by id, `stamps` when they last changed; `audited` is the log, `full` breaks it."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, tuple[DocumentState, str]] = {}
        self.audited: list[tuple[str, str, str]] = []
        self.full = False

    async def documents_named(self, principal: Principal, name: str, limit: int) -> list[Document]:
        found = [d for d in self._readable(principal) if name == d.id or any(name == c.title for c in d.chunks)]
        return [self._document(d) for d in found[:limit]]

    def _document(self, found: FakeDocument) -> Document:
        state, reason = self.states.get(found.id, ("indexed", ""))
        return Document(
            id=found.id,
            tenant=found.tenant,
            collection_id=found.collection,
            collection=found.collection,
            external_id=found.id,
            name=found.id,
            title=found.id,
            source="upload",
            state=state,
            version=1,
            content_hash="",
            media_type="",
            size_bytes=1,
            chunk_count=len(found.chunks),
            rights=found.rights,
            metadata={},
            created_at="",
            updated_at="",
            reason=reason,
        )

    async def document_chunks(self, principal: Principal, document_id: str) -> list[VisibleChunk]:
        return next((d.chunks for d in self._readable(principal) if d.id == document_id), [])

    async def audit(self, principal: Principal, act: str, target: str, facts: Mapping[str, Any]) -> None:
        if self.full:
            raise StorageError("The audit log cannot be written.")
        self.audited.append((principal.subject, act, target))


class ExplainedWorld(World):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.library = FakeLibrary()
        self.catalogue = self.library

    @property
    def explanations(self) -> Explanations:
        return Explanations(
            self.library, self.questions, self._with(deeper(self.options)), self.options, system_principal
        )

    def _with(self, options: RagOptions) -> Questions:
        return Questions(
            passages=self.catalogue,
            traces=self.catalogue,
            store=self.store,
            embedder=self.embedder,
            chat=self.chat,
            options=options,
        )
