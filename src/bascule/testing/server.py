"""A server over fakes, on a real loopback port: for tests of the HTTP edge that need no database, no index and no model."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from bascule.core.calls import Call, Usage
from bascule.core.chat import ChatChunk, ChatRequest, ChatResponse, ChatStream
from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.documents import Collection, Document, Job, VisibleChunk
from bascule.core.embedding import EmbeddingRequest, EmbeddingResponse
from bascule.core.errors import AuthenticationFailed, BasculeError, NotFound
from bascule.core.generations import CollectionFacts
from bascule.core.keys import KeyRecord
from bascule.core.principals import ALL_SCOPES, Principal
from bascule.core.rights import Reason, Rights
from bascule.core.traces import TraceLines
from bascule.core.usage import UsageRows
from bascule.plugins.state_stores.memory import MemoryState
from bascule.server.app import Application, create_app
from bascule.server.run import Server, bind
from bascule.settings import Exact
from bascule.testing.samples import (
    ADMIN,
    CHATTER,
    CHUNK,
    DOCUMENT,
    HOSTILE,
    READER,
    WHEN,
    a_chunk,
    a_document,
    a_job,
    a_key,
    an_answer,
)
from bascule.testing.server_admin import FakeReembed, FakeRoutes
from bascule.testing.server_questions import FakeExplanations, FakeQuestions

__all__ = ["ADMIN", "CHATTER", "CHUNK", "DOCUMENT", "HOSTILE", "READER", "WHEN", "an_answer"]


class FakeAuthenticator:
    """Three keys: all scopes; ask; chat. `revoked` names those that have stopped working."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self._keys = {
            ADMIN: Principal(tenant="t", subject="root", scopes=ALL_SCOPES, key_id="k1"),
            READER: Principal(tenant="t", subject="ann", scopes=frozenset({"ask"}), key_id="k2"),
            CHATTER: Principal(tenant="t", scopes=frozenset({"chat"}), key_id="k3"),
        }

    def principal(self, authorization: str | None) -> Principal:
        key = (authorization or "").removeprefix("Bearer ")
        if key not in self._keys or key in self.revoked:
            raise AuthenticationFailed("The API key is not valid.")
        return self._keys[key]

    @staticmethod
    def hashed(authorization: str | None) -> bytes:
        return (authorization or "").encode()

    def known(self, hashed: bytes) -> Principal:
        return self.principal(hashed.decode())

    def record(self, principal: Principal) -> KeyRecord | None:
        return a_key(principal.key_id)

    async def refresh(self) -> None: ...


class FakeGateway:
    """Says `reply`. `fails` is raised instead; `hold` keeps calls and streams waiting; `cut` ends a stream early."""

    def __init__(self) -> None:
        self.reply = "Hello there"
        self.fails: Exception | None = None
        self.cut: Exception | bool = False
        self.hold: asyncio.Event | None = None
        self.requests: list[tuple[Any, Call]] = []
        self.cancelled = 0
        self.closed = 0

    def models(self) -> list[str]:
        return ["fast"]

    def learn(self, request: ChatRequest, call: Call) -> None:
        return None

    async def _enter(self, request: Any, call: Call) -> None:
        self.requests.append((request, call))
        if self.fails is not None:
            raise self.fails
        call.cache, call.cache_reason = "MISS", "first time"

    async def _wait(self) -> None:
        if self.hold is None:
            return
        try:
            await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def chat(self, request: ChatRequest, call: Call) -> ChatResponse:
        await self._enter(request, call)
        await self._wait()
        message = {"role": "assistant", "content": self.reply}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        body = msgspec.json.encode({"id": "x", "object": "chat.completion", "model": "fast", "choices": choices})
        return ChatResponse(
            wire=request.wire,
            body=body,
            model="fast",
            provider="fake",
            usage=Usage(),
            text=self.reply,
            finish="stop",
            complete=True,
        )

    async def stream(self, request: ChatRequest, call: Call) -> ChatStream:
        await self._enter(request, call)
        return ChatStream(self._chunks(), wire=request.wire, model="fast", provider="fake", close=self._close)

    async def _chunks(self) -> AsyncIterator[ChatChunk]:
        for word in self.reply.split():
            data = {"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": word}}]}
            yield ChatChunk(msgspec.json.encode(data), text=word)
            await self._wait()
        if isinstance(self.cut, Exception):
            raise self.cut
        if not self.cut:
            yield ChatChunk(b"[DONE]", last=True)

    async def _close(self) -> None:
        self.closed += 1

    async def embed(self, request: EmbeddingRequest, call: Call) -> EmbeddingResponse:
        await self._enter(request, call)
        vector = b"\x00\x00\x80\x3f\x00\x00\x00\x00"  # 1.0, 0.0
        return EmbeddingResponse(
            vectors=(vector,) * len(request.texts),
            dimension=2,
            model=request.model,
            provider="fake",
            fingerprint="f",
            usage=Usage(input_tokens=3),
        )


class FakeCatalogue:
    """One document with one passage, readable by all three keys; any other id is not found."""

    def __init__(self) -> None:
        self.fails: BasculeError | None = None
        self.rights = Rights(allow=frozenset({"public", "group:hr"}), owner="root")
        self.audited: list[tuple[str, str]] = []

    async def audit(self, principal: Principal, act: str, target: str, facts: Mapping[str, Any]) -> None:
        if self.fails is not None:
            raise self.fails
        self.audited.append((act, target))

    async def change_mark(self) -> str:
        if self.fails is not None:
            raise self.fails
        return "1"

    async def oldest_unpurged_s(self) -> float:
        return 0.0

    async def active_keys(self) -> list[KeyRecord]:
        return []

    async def calls(self, principal: Principal, limit: int, wanted: object) -> list[Any]:
        return []

    async def usage(self, principal: Principal, since_s: float) -> UsageRows:
        return UsageRows([])

    async def wall(self) -> str:
        return "none"

    async def index_changes(self, limit: int) -> list[Any]:
        return []

    async def call(self, principal: Principal, call_id: str) -> Any:
        raise NotFound("There is no such thing, or you may not see it.")

    async def _none(self, *_: Any, **__: Any) -> Any:
        raise NotFound("There is no such thing, or you may not see it.")

    scim_user = scim_change_user = scim_remove_user = _none
    scim_group = scim_change_group = scim_remove_group = _none

    async def trace_lines(self, principal: Principal, limit: int, wanted: object) -> TraceLines:
        return TraceLines([], None)

    async def eval_run(self, principal: Principal, run_id: str) -> Any:
        raise NotFound("There is no such thing, or you may not see it.")

    async def give_feedback(self, *given: Any, **more: Any) -> Any:
        raise NotFound("There is no such thing, or you may not see it.")

    async def alikes(self, principal: Principal, document_ids: Sequence[str]) -> dict[str, list[str]]:
        return {}

    async def source_runs(self, principal: Principal) -> dict[str, Any]:
        return {}

    async def collection_facts(self, principal: Principal, name: str | None = None) -> list[CollectionFacts]:
        found = await self.collections(principal)
        if name not in (None, "handbook"):
            raise NotFound("There is no such thing, or you may not see it.")
        return [CollectionFacts(collection=each, documents=3, chunks=9, unembedded=9) for each in found]

    async def collections(self, principal: Principal) -> list[Collection]:
        if self.fails is not None:
            raise self.fails
        return [Collection(id="c1", tenant="t", name="handbook")]

    async def documents(
        self, principal: Principal, collection: str | None, limit: int, after: str | None
    ) -> list[Document]:
        return [a_document(self.rights)] if collection in (None, "handbook") else []

    async def document(self, principal: Principal, document_id: str) -> Document:
        if document_id != DOCUMENT:
            raise NotFound("There is no such thing, or you may not see it.")
        return a_document(self.rights)

    async def document_chunks(self, principal: Principal, document_id: str) -> list[VisibleChunk]:
        await self.document(principal, document_id)
        return [a_chunk()]

    async def passage(self, principal: Principal, chunk_id: str) -> VisibleChunk:
        if chunk_id != CHUNK:
            raise NotFound("There is no such thing, or you may not see it.")
        return a_chunk()

    async def neighbours(self, principal: Principal, chunk_id: str, before: int, after: int) -> list[VisibleChunk]:
        return []

    async def jobs(self, principal: Principal, limit: int, wanted: object = None) -> list[Job]:
        return [a_job()]

    async def job_progress(self, principal: Principal, limit: int, job_id: str = "") -> list[Job]:
        return [a_job()] if job_id in ("", "j1") else []

    async def quarantine(self, principal: Principal, limit: int, wanted: object = None) -> list[Any]:
        return []

    async def retry_quarantine(self, principal: Principal, wanted: object = None) -> int:
        return 0

    async def job_pauses(self, principal: Principal) -> list[Any]:
        return []

    async def pause_jobs(self, principal: Principal, kind: str, name: str) -> None: ...

    async def resume_jobs(self, principal: Principal, kind: str, name: str) -> None: ...

    async def _on_job(self, principal: Principal, job_id: str) -> Job:
        return await self.job(principal, job_id)

    cancel_job = pause_job = resume_job = retry_job = _on_job

    async def job(self, principal: Principal, job_id: str) -> Job:
        if job_id != "j1":
            raise NotFound("There is no such thing, or you may not see it.")
        return a_job()


class FakeKeys:
    async def create(self, principal: Principal, **given: Any) -> tuple[KeyRecord, str]:
        self.made = given
        return a_key("k9"), "bsk_new"

    async def list(self, principal: Principal) -> list[KeyRecord]:
        return [a_key("k1")]

    async def rotate(self, principal: Principal, key_id: str, overlap_s: float = 0.0) -> tuple[KeyRecord, str]:
        return await self.revoke(principal, key_id), "bsk_rotated"

    async def expire(self, principal: Principal, key_id: str, expires_at: str | None) -> KeyRecord:
        return await self.revoke(principal, key_id)

    async def revoke(self, principal: Principal, key_id: str) -> KeyRecord:
        if key_id != "k1":
            raise NotFound("There is no such thing, or you may not see it.")
        return a_key(key_id)


class FakeRights:
    def __init__(self, catalogue: FakeCatalogue) -> None:
        self._catalogue = catalogue

    async def replace(
        self, principal: Principal, document_id: str, allow: Sequence[str], deny: Sequence[str]
    ) -> Document:
        await self._catalogue.document(principal, document_id)
        self._catalogue.rights = Rights.of(allow, deny, "root")
        return a_document(self._catalogue.rights)

    async def why(self, principal: Principal, document_id: str, mark: str) -> Reason:
        await self._catalogue.document(principal, document_id)
        return Reason(allowed=False, effect="none")

    async def inherit(self, principal: Principal, document_id: str) -> Document:
        return await self._catalogue.document(principal, document_id)


class FakeIngest:
    def __init__(self) -> None:
        self.taken: list[tuple[str, SourceItem | SkippedItem, Rights | None]] = []
        self.deleted: list[str] = []

    async def reprocess(self, principal: Principal, collection: str, *, only_stale: bool) -> Job:
        raise NotFound("There is no such thing, or you may not see it.")

    async def take(
        self, principal: Principal, collection: str, items: Any, rights: Rights | None, source: str = "upload"
    ) -> tuple[Job, list[SkippedItem]]:
        if hasattr(items, "__aiter__"):
            self.taken += [(collection, item, rights) async for item in items]
        else:
            self.taken += [(collection, item, rights) for item in items]
        return a_job(), [SkippedItem(external_id="big.bin", reason="larger than allowed")]

    async def delete(self, principal: Principal, document_id: str) -> None:
        if document_id != DOCUMENT:
            raise NotFound("There is no such thing, or you may not see it.")
        self.deleted.append(document_id)

    async def settle(self) -> None:
        return None

    async def reveal(self, principal: Principal, document_id: str, wanted: str) -> str:
        if document_id != DOCUMENT:
            raise NotFound("There is no such thing, or you may not see it.")
        return "ann@example.com"


class FakeApp:
    """Everything `create_app` asks an App for. Settings are given as sections, e.g. `server={"max_body_bytes": 99}`."""

    def __init__(self, **sections: Any) -> None:
        self.settings = Exact(data=Path(tempfile.gettempdir()) / "unused", **sections)
        self.authenticator = FakeAuthenticator()
        self.login = None
        self.gateway = FakeGateway()
        self.catalogue = FakeCatalogue()
        self.keys = FakeKeys()
        self.rights = FakeRights(self.catalogue)
        self.tokens = None
        self.state = MemoryState()
        self.ingest: FakeIngest | None = FakeIngest()
        self.questions: FakeQuestions | None = FakeQuestions()
        self.explanations: FakeExplanations | None = FakeExplanations()
        self.fetch_document = None
        self.reembed: FakeReembed | None = FakeReembed()
        self.embedders = None
        self.retention = None
        self.sources = None
        self.routes = FakeRoutes()
        self.degraded: list[str] = ["lexical_only: no embedding model"]


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[tuple[str, Application]]:
    """(base URL, the application) while it is served on a free loopback port."""
    application = create_app(app)
    listener = bind("127.0.0.1", 0)
    server = Server(application, listener, drain_s=1)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", application
    finally:
        server.should_exit = True
        await task
        listener.close()


async def until(condition: Callable[[], object], within_s: float, every_s: float = 0.01) -> None:
    """Wait until `condition()` is true. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(every_s)
