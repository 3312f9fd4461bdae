"""What a command needs from Bascule, whether it opens the data folder itself (`local`) or speaks HTTP (`remote`).

Everything is plain data in the shapes of the HTTP interface, so that `--json` prints the same either way.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from bascule.core.chat import ChatRequest
from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.feedback import Rating
from bascule.core.jobs import ANY_JOB, JobFilter, PauseKind
from bascule.core.rights import LevelKind, Rights

Plain = dict[str, Any]
NO_FILTER: Mapping[str, Any] = {}
JobAct = Literal["cancel", "pause", "resume", "retry"]
DEFAULT_TENANT = "default"


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a new key may do and whom it speaks for."""

    name: str
    tenant: str
    subject: str = ""
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    expires_at: str | None = None
    requests_per_min: int | None = None
    tokens_per_min: int | None = None
    usd_per_day: float | None = None
    concurrent: int | None = None
    usd_per_month: float | None = None


class Backend(Protocol):
    """Every method raises BasculeError."""

    async def ask(
        self, question: str, collections: Sequence[str] | None, model: str | None, where: Mapping[str, Any] = NO_FILTER
    ) -> Plain: ...

    async def search(
        self, query: str, collections: Sequence[str] | None, limit: int, where: Mapping[str, Any] = NO_FILTER
    ) -> list[Plain]: ...

    async def explain(self, answer_id: str, expect: str | None = None, truth: bool = False) -> Plain: ...

    async def replay(self, answer_id: str) -> Plain:
        """{answer, diff}."""
        ...

    async def diff(self, one: str, other: str) -> Plain: ...

    async def save_eval_run(self, run: Plain) -> Plain:
        """{kind, name, figures, notes, cases} -> the kept run, without its cases."""
        ...

    async def eval_runs(self, limit: int) -> list[Plain]: ...

    async def eval_run(self, run_id: str) -> Plain: ...

    async def give_feedback(self, answer_id: str, rating: Rating, correction: str, note: str) -> Plain: ...

    async def candidates(self, limit: int) -> list[Plain]: ...

    async def write(self, request: ChatRequest, document_ids: frozenset[str]) -> str:
        """What a chat model says to a request in OpenAI's format; nothing of it is cached."""
        ...

    async def take(
        self, collection: str, items: AsyncIterable[SourceItem | SkippedItem], rights: Rights | None
    ) -> tuple[list[Plain], list[Plain]]:
        """Hand documents over; the accepted jobs and what was skipped ({external_id, reason})."""
        ...

    def works(self) -> bool:
        """Whether this process itself runs the folder's jobs, and must stay until they are done."""
        ...

    async def jobs(self, limit: int, wanted: JobFilter = ANY_JOB) -> list[Plain]: ...

    async def job(self, job_id: str) -> Plain: ...

    async def progress(self, job_id: str) -> Plain:
        """`job`, without its items where that is cheaper."""
        ...

    async def act_on_job(self, act: JobAct, job_id: str) -> Plain: ...

    async def quarantine(self, limit: int, wanted: JobFilter) -> list[Plain]: ...

    async def retry_quarantine(self, wanted: JobFilter) -> int: ...

    async def pauses(self) -> list[Plain]: ...

    async def pause_jobs(self, kind: PauseKind, name: str) -> None: ...

    async def resume_jobs(self, kind: PauseKind, name: str) -> None: ...

    async def sources(self) -> list[Plain]: ...

    async def collections(self) -> list[Plain]: ...

    async def collection(self, name: str) -> Plain: ...

    async def reembed(self, collection: str, model: str | None) -> Plain: ...

    async def expire(self, collection: str, confirm_deletions: bool) -> list[Plain]: ...

    async def reprocess(self, collection: str, only_stale: bool) -> Plain: ...

    async def documents(self, collection: str | None, limit: int, after: str | None) -> list[Plain]: ...

    async def document(self, document_id: str) -> Plain: ...

    async def chunks(self, document_id: str) -> list[Plain]: ...

    async def delete(self, document_id: str) -> None: ...

    async def reveal(self, document_id: str, pseudonym: str) -> str: ...

    async def grant(self, document_id: str, allow: Sequence[str], deny: Sequence[str]) -> Plain: ...

    async def revoke(self, document_id: str, marks: Sequence[str]) -> Plain: ...

    async def levels(self) -> list[Plain]: ...

    async def set_level(
        self, kind: LevelKind, name: str, allow: Sequence[str], deny: Sequence[str], collection: str
    ) -> Plain: ...

    async def inherit(self, document_id: str) -> Plain: ...

    async def why(self, document_id: str, mark: str) -> Plain: ...

    async def create_key(self, wanted: KeyRequest) -> Plain:
        """The key's record with the key itself under "key": shown this once."""
        ...

    async def keys(self) -> list[Plain]: ...

    async def revoke_key(self, key_id: str) -> Plain: ...

    async def routes(self) -> Plain: ...

    async def route(self, name: str) -> Plain: ...

    async def create_route(self, name: str, settings: Plain, enabled: bool) -> Plain: ...

    async def change_route(self, name: str, settings: Plain | None, enabled: bool | None) -> Plain: ...

    async def remove_route(self, name: str) -> None: ...


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a command goes. `data` or no `url` means the data folder; `key` narrows the operator to that key's rights."""

    data: Path | None = None
    config: Path | None = None
    key: str | None = None
    url: str | None = None
    tenant: str = DEFAULT_TENANT

    @property
    def is_remote(self) -> bool:
        return self.data is None and bool(self.url)


@asynccontextmanager
async def connect(target: Target, *, work: bool = False) -> AsyncGenerator[Backend]:
    """Open the backend a target names. `work`: this process may become the folder's job runner.

    Raises ConfigError, AuthenticationFailed.
    """
    if target.is_remote:
        from bascule.cli.remote import RemoteBackend

        yield RemoteBackend(target.url or "", target.key or "")
    else:
        from bascule.cli.local import open_local

        async with open_local(target, work=work) as backend:
            yield backend


T = TypeVar("T")


def use(target: Target, action: Callable[[Backend], Coroutine[Any, Any, T]], *, work: bool = False) -> T:
    """Run one action against the target's backend, from synchronous code."""
    import asyncio

    async def run() -> T:
        async with connect(target, work=work) as backend:
            return await action(backend)

    return asyncio.run(run())
