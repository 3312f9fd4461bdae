"""The command line on the data folder itself: its 0700 rights are the authority, unless `--key` narrows it to that key's.

Safe beside a running server: every process opens the same catalogue, and only one of them runs the folder's jobs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from bascule.bootstrap import App, open_app
from bascule.bootstrap.routes import RouteAdmin
from bascule.cli.backend import NO_FILTER, JobAct, KeyRequest, Plain, Target
from bascule.core.calls import CacheDirectives, Call
from bascule.core.chat import ChatRequest
from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.deadlines import Deadline
from bascule.core.errors import ConfigError, ScopeMissing
from bascule.core.feedback import Feedback, Rating
from bascule.core.jobs import ANY_JOB, JobFilter, PauseKind
from bascule.core.principals import (
    DEFAULT_SCOPES,
    SCOPE_ADMIN,
    SCOPE_ASK,
    SCOPE_AUDIT,
    SCOPE_CHAT,
    SCOPE_INGEST,
    Principal,
    system_principal,
)
from bascule.core.rights import LevelKind, Rights
from bascule.rag.explanations import Explanations
from bascule.rag.ingest import Ingest
from bascule.rag.questions import Questions
from bascule.server.collections import view_of, views
from bascule.server.documents import seen
from bascule.server.evaluations import EvalRunBody, EvalRunView
from bascule.server.rights import LevelView
from bascule.server.sources import source_views
from bascule.server.views import ChunkView, DocumentView, HitView, JobView, KeyView
from bascule.settings import load


@asynccontextmanager
async def open_local(target: Target, *, work: bool) -> AsyncGenerator[LocalBackend]:
    """Raises ConfigError when there is no data folder, and AuthenticationFailed for a key that is not valid."""
    settings = load(target.config, data=target.data)
    if not (settings.data / "secrets").is_dir():
        raise ConfigError(
            f"There is no Bascule data folder at {settings.data}. Run: bascule init --data {settings.data}"
        )
    async with open_app(settings, work=work) as app:
        key = target.key
        yield LocalBackend(
            app, app.authenticator.principal(f"Bearer {key}") if key else system_principal(target.tenant)
        )


class LocalBackend:
    """Checks the scopes that the server's routes check; the catalogue checks the rights."""

    def __init__(self, app: App, principal: Principal) -> None:
        self.app = app
        self._who = principal

    def _needs(self, scope: str) -> Principal:
        if not self._who.can(scope):
            raise ScopeMissing(f"This key does not have the scope {scope!r}.")
        return self._who

    def operator(self, tenant: str) -> LocalBackend:
        """The same folder with all rights within a tenant. Raises ScopeMissing for a key that is no administrator's there."""
        who = self._needs(SCOPE_ADMIN)
        if not who.system and who.tenant != tenant:
            raise ScopeMissing("This key is another tenant's.")
        return LocalBackend(self.app, system_principal(tenant))

    def _questions(self) -> Questions:
        if self.app.questions is None:
            raise ConfigError("Questions need [rag] enabled = true.")
        return self.app.questions

    def _ingest(self) -> Ingest:
        if self.app.ingest is None:
            raise ConfigError("Documents need [rag] enabled = true.")
        return self.app.ingest

    async def ask(
        self, question: str, collections: Sequence[str] | None, model: str | None, where: Mapping[str, Any] = NO_FILTER
    ) -> Plain:
        who = self._needs(SCOPE_ASK)
        found = await self._questions().answer(who, question, collections=collections or None, where=where, model=model)
        return _plain(found)

    async def search(
        self, query: str, collections: Sequence[str] | None, limit: int, where: Mapping[str, Any] = NO_FILTER
    ) -> list[Plain]:
        who = self._needs(SCOPE_ASK)
        hits = await self._questions().search(who, query, collections=collections or None, limit=limit, where=where)
        return [_plain(HitView.of(hit)) for hit in hits]

    def _explanations(self) -> Explanations:
        if self.app.explanations is None:
            raise ConfigError("Questions need [rag] enabled = true.")
        return self.app.explanations

    async def explain(self, answer_id: str, expect: str | None = None, truth: bool = False) -> Plain:
        who = self._needs(SCOPE_ASK)
        return _plain(await self._explanations().explain(who, answer_id, expect=expect, truth=truth))

    async def replay(self, answer_id: str) -> Plain:
        answer, diff = await self._explanations().replay(self._needs(SCOPE_ASK), answer_id)
        return {"answer": _plain(answer), "diff": diff}

    async def diff(self, one: str, other: str) -> Plain:
        return _plain(await self._explanations().diff(self._needs(SCOPE_ASK), one, other))

    async def save_eval_run(self, run: Plain) -> Plain:
        who = self._needs(SCOPE_ASK)
        made = msgspec.convert(run, EvalRunBody).made(who)
        await self.app.catalogue.save_eval_run(who, made)
        return _plain(EvalRunView.of(msgspec.structs.replace(made, cases=())))

    async def eval_runs(self, limit: int) -> list[Plain]:
        found = await self.app.catalogue.eval_runs(self._needs(SCOPE_ASK), limit)
        return [_plain(EvalRunView.of(run)) for run in found]

    async def eval_run(self, run_id: str) -> Plain:
        return _plain(EvalRunView.of(await self.app.catalogue.eval_run(self._needs(SCOPE_ASK), run_id)))

    async def give_feedback(self, answer_id: str, rating: Rating, correction: str, note: str) -> Plain:
        given = Feedback(answer_id=answer_id, rating=rating, correction=correction.strip(), note=note.strip())
        return _plain(await self.app.catalogue.give_feedback(self._needs(SCOPE_ASK), given))

    async def candidates(self, limit: int) -> list[Plain]:
        found = await self.app.catalogue.candidates(self._needs(SCOPE_ASK), limit)
        return [_plain(each) for each in found]

    async def write(self, request: ChatRequest, document_ids: frozenset[str]) -> str:
        who, quietly = self._needs(SCOPE_CHAT), CacheDirectives(no_store=True)
        deadline = Deadline.after(self.app.settings.gateway.timeout_s)
        call = Call(who, deadline, directives=quietly, document_ids=document_ids)
        return (await self.app.gateway.chat(request, call)).text

    async def take(
        self, collection: str, items: AsyncIterable[SourceItem | SkippedItem], rights: Rights | None
    ) -> tuple[list[Plain], list[Plain]]:
        who = self._needs(SCOPE_INGEST)
        job, skipped = await self._ingest().take(who, collection, items, rights, source="folder")
        return [_plain(JobView.of(job))], [_plain(item) for item in skipped]

    def works(self) -> bool:
        return self.app.jobs.state == "worker"

    async def jobs(self, limit: int, wanted: JobFilter = ANY_JOB) -> list[Plain]:
        found = await self.app.catalogue.jobs(self._needs(SCOPE_INGEST), limit, wanted)
        return [_plain(JobView.of(job)) for job in found]

    async def act_on_job(self, act: JobAct, job_id: str) -> Plain:
        catalogue = self.app.catalogue
        acts = {
            "cancel": catalogue.cancel_job,
            "pause": catalogue.pause_job,
            "resume": catalogue.resume_job,
            "retry": catalogue.retry_job,
        }
        return _plain(JobView.of(await acts[act](self._needs(SCOPE_INGEST), job_id)))

    async def quarantine(self, limit: int, wanted: JobFilter) -> list[Plain]:
        found = await self.app.catalogue.quarantine(self._needs(SCOPE_INGEST), limit, wanted)
        return [_plain(document) for document in found]

    async def retry_quarantine(self, wanted: JobFilter) -> int:
        return await self.app.catalogue.retry_quarantine(self._needs(SCOPE_INGEST), wanted)

    async def pauses(self) -> list[Plain]:
        return [_plain(pause) for pause in await self.app.catalogue.job_pauses(self._needs(SCOPE_ADMIN))]

    async def pause_jobs(self, kind: PauseKind, name: str) -> None:
        await self.app.catalogue.pause_jobs(self._needs(SCOPE_ADMIN), kind, name)

    async def resume_jobs(self, kind: PauseKind, name: str) -> None:
        await self.app.catalogue.resume_jobs(self._needs(SCOPE_ADMIN), kind, name)

    async def job(self, job_id: str) -> Plain:
        return _plain(JobView.of(await self.app.catalogue.job(self._needs(SCOPE_INGEST), job_id)))

    async def progress(self, job_id: str) -> Plain:
        found = await self.app.catalogue.job_progress(self._needs(SCOPE_INGEST), 1, job_id)
        return _plain(JobView.of(found[0])) if found else await self.job(job_id)

    async def sources(self) -> list[Plain]:
        return [_plain(view) for view in await source_views(self.app, self._needs(SCOPE_ADMIN))]

    async def collections(self) -> list[Plain]:
        who = self._needs(SCOPE_ASK)
        if who.is_admin:
            return [_plain(view) for view in await views(self.app, await self.app.catalogue.collection_facts(who))]
        found = await self.app.catalogue.collections(who)
        return [_plain(await view_of(self.app, collection)) for collection in found]

    async def collection(self, name: str) -> Plain:
        found = await self.app.catalogue.collection_facts(self._needs(SCOPE_ADMIN), name)
        return _plain((await views(self.app, found))[0])

    async def reprocess(self, collection: str, only_stale: bool) -> Plain:
        return _plain(
            JobView.of(await self._ingest().reprocess(self._needs(SCOPE_ADMIN), collection, only_stale=only_stale))
        )

    async def expire(self, collection: str, confirm_deletions: bool) -> list[Plain]:
        if self.app.retention is None:
            raise ConfigError("The configuration has [rag] enabled = false.")
        who = self._needs(SCOPE_ADMIN)
        found = await self.app.retention.run_one(who, collection, confirm_deletions=confirm_deletions)
        return [_plain(report) for report in found]

    async def reembed(self, collection: str, model: str | None) -> Plain:
        if self.app.reembed is None:
            raise ConfigError("The configuration has [rag] enabled = false.")
        return _plain(JobView.of(await self.app.reembed.start(self._needs(SCOPE_ADMIN), collection, model)))

    async def documents(self, collection: str | None, limit: int, after: str | None) -> list[Plain]:
        who = self._needs(SCOPE_ASK)
        found = await self.app.catalogue.documents(who, collection, limit, after)
        return [_plain(view) for view in await seen(self.app, who, found)]

    async def document(self, document_id: str) -> Plain:
        who = self._needs(SCOPE_ASK)
        return _plain((await seen(self.app, who, [await self.app.catalogue.document(who, document_id)]))[0])

    async def chunks(self, document_id: str) -> list[Plain]:
        found = await self.app.catalogue.document_chunks(self._needs(SCOPE_ASK), document_id)
        return [_plain(ChunkView.of(chunk)) for chunk in found]

    async def delete(self, document_id: str) -> None:
        await self._ingest().delete(self._needs(SCOPE_INGEST), document_id)

    async def reveal(self, document_id: str, pseudonym: str) -> str:
        return await self._ingest().reveal(self._needs(SCOPE_AUDIT), document_id, pseudonym)

    async def grant(self, document_id: str, allow: Sequence[str], deny: Sequence[str]) -> Plain:
        who = self._needs(SCOPE_INGEST)
        after = await self.app.rights.grant(who, document_id, allow, deny)
        await self._ingest().settle()
        return _plain(DocumentView.of(after, who))

    async def revoke(self, document_id: str, marks: Sequence[str]) -> Plain:
        who = self._needs(SCOPE_INGEST)
        after = await self.app.rights.revoke(who, document_id, marks)
        await self._ingest().settle()
        return _plain(DocumentView.of(after, who))

    async def levels(self) -> list[Plain]:
        return [_plain(LevelView.of(level)) for level in await self.app.rights.levels(self._needs(SCOPE_ADMIN))]

    async def set_level(
        self, kind: LevelKind, name: str, allow: Sequence[str], deny: Sequence[str], collection: str
    ) -> Plain:
        level = await self.app.rights.set_level(self._needs(SCOPE_ADMIN), kind, name, allow, deny, collection)
        await self._ingest().settle()
        return _plain(LevelView.of(level))

    async def inherit(self, document_id: str) -> Plain:
        who = self._needs(SCOPE_INGEST)
        after = await self.app.rights.inherit(who, document_id)
        await self._ingest().settle()
        return _plain(DocumentView.of(after, who))

    async def why(self, document_id: str, mark: str) -> Plain:
        return _plain(await self.app.rights.why(self._needs(SCOPE_AUDIT), document_id, mark))

    async def create_key(self, wanted: KeyRequest) -> Plain:
        record, key = await self.app.keys.create(
            self._needs(SCOPE_ADMIN),
            name=wanted.name,
            tenant=wanted.tenant or self._who.tenant,
            subject=wanted.subject,
            groups=wanted.groups,
            roles=wanted.roles,
            scopes=wanted.scopes or sorted(DEFAULT_SCOPES),
            expires_at=wanted.expires_at,
            requests_per_min=wanted.requests_per_min,
            tokens_per_min=wanted.tokens_per_min,
            usd_per_day=wanted.usd_per_day,
            concurrent=wanted.concurrent,
            usd_per_month=wanted.usd_per_month,
        )
        return _plain(KeyView.of(record, key))

    async def keys(self) -> list[Plain]:
        return [_plain(KeyView.of(record)) for record in await self.app.keys.list(self._needs(SCOPE_ADMIN))]

    async def revoke_key(self, key_id: str) -> Plain:
        return _plain(KeyView.of(await self.app.keys.revoke(self._needs(SCOPE_ADMIN), key_id)))

    def _routes(self) -> RouteAdmin:
        assert self.app.routes is not None
        return self.app.routes

    async def routes(self) -> Plain:
        who = self._needs(SCOPE_ADMIN)
        found = [_plain(view) for view in await self._routes().list(who)]
        return {"data": found, "providers": [_plain(view) for view in self._routes().providers(who)], "object": "list"}

    async def route(self, name: str) -> Plain:
        return _plain(await self._routes().show(self._needs(SCOPE_ADMIN), name))

    async def create_route(self, name: str, settings: Plain, enabled: bool) -> Plain:
        return _plain(await self._routes().create(self._needs(SCOPE_ADMIN), name, settings, enabled))

    async def change_route(self, name: str, settings: Plain | None, enabled: bool | None) -> Plain:
        return _plain(await self._routes().replace(self._needs(SCOPE_ADMIN), name, settings, enabled))

    async def remove_route(self, name: str) -> None:
        await self._routes().remove(self._needs(SCOPE_ADMIN), name)


def _plain(value: object) -> Plain:
    """A struct as the plain data that its JSON would be read back as."""
    return msgspec.json.decode(msgspec.json.encode(value), type=dict[str, Any])
