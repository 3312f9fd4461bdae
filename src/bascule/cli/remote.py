"""The command line over HTTP: used when BASCULE_URL is set. The server decides everything, by the key."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from bascule.cli.backend import NO_FILTER, JobAct, KeyRequest, Plain
from bascule.cli.http_peer import HttpPeer
from bascule.core.chat import ChatRequest
from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.feedback import Rating
from bascule.core.jobs import ANY_JOB, JobFilter, PauseKind
from bascule.core.rights import LevelKind, Rights

PAGE: Final = 200
BATCH: Final = 100
LARGE_BYTES: Final = 5_000_000  # beyond it a file goes as a form, which has the server's larger limit


class RemoteBackend:
    def __init__(self, url: str, key: str) -> None:
        self._peer = HttpPeer(url, key)

    async def _call(self, method: str, path: str, body: Any = None, **raw: Any) -> Any:
        return await asyncio.to_thread(self._peer.call, method, path, body, **raw)

    async def ask(
        self,
        question: str,
        collections: Sequence[str] | None,
        model: str | None,
        where: Mapping[str, Any] = NO_FILTER,
    ) -> Plain:
        body = {"question": question, "collections": _named(collections), "model": model, "filter": where or None}
        return dict(await self._call("POST", "/v1/answers", _given(body)))

    async def search(
        self, query: str, collections: Sequence[str] | None, limit: int, where: Mapping[str, Any] = NO_FILTER
    ) -> list[Plain]:
        body = {"query": query, "collections": _named(collections), "limit": limit, "filter": where or None}
        return list((await self._call("POST", "/v1/search", _given(body)))["hits"])

    async def explain(self, answer_id: str, expect: str | None = None, truth: bool = False) -> Plain:
        asked = urlencode(_given({"expect": expect, "truth": "true" if truth else None}))
        return dict(await self._call("GET", _answer(answer_id, "explain") + (f"?{asked}" if asked else "")))

    async def replay(self, answer_id: str) -> Plain:
        return dict(await self._call("POST", _answer(answer_id, "replay")))

    async def diff(self, one: str, other: str) -> Plain:
        return dict(await self._call("GET", f"{_answer(one, 'diff')}?{urlencode({'other': other})}"))

    async def save_eval_run(self, run: Plain) -> Plain:
        return dict(await self._call("POST", "/v1/evaluations", run))

    async def eval_runs(self, limit: int) -> list[Plain]:
        return list((await self._call("GET", f"/v1/evaluations?limit={min(limit, PAGE)}"))["data"])

    async def eval_run(self, run_id: str) -> Plain:
        return dict(await self._call("GET", f"/v1/evaluations/{quote(run_id, safe='')}"))

    async def give_feedback(self, answer_id: str, rating: Rating, correction: str, note: str) -> Plain:
        body = {"rating": rating, "correction": correction, "note": note}
        return dict(await self._call("PUT", _answer(answer_id, "feedback"), body))

    async def candidates(self, limit: int) -> list[Plain]:
        return list((await self._call("GET", f"/v1/candidates?limit={limit}"))["data"])

    async def write(self, request: ChatRequest, document_ids: frozenset[str]) -> str:
        """The server does not hear of the documents: so nothing of it may be cached there."""
        said = await self._call(
            "POST", "/v1/chat/completions", dict(request.view), headers={"Cache-Control": "no-store"}
        )
        return str(said["choices"][0]["message"].get("content") or "")

    async def take(
        self, collection: str, items: AsyncIterable[SourceItem | SkippedItem], rights: Rights | None
    ) -> tuple[list[Plain], list[Plain]]:
        jobs: list[Plain] = []
        skipped: list[Plain] = []
        async for batch in _batches(items, skipped):
            job = await self._send(collection, batch, rights)
            jobs.append(job)
            skipped += job.get("skipped", [])
        return jobs, skipped

    async def _send(self, collection: str, batch: Sequence[SourceItem], rights: Rights | None) -> Plain:
        if len(batch[0].data) > LARGE_BYTES:
            data, content_type = _form(collection, batch[0], batch[0].rights or rights)
            return dict(await self._call("POST", "/v1/documents", data=data, content_type=content_type))
        body = {"collection": collection, "documents": [_document(item) for item in batch], **_rights(rights)}
        return dict(await self._call("POST", "/v1/documents", body))

    def works(self) -> bool:
        return False

    async def jobs(self, limit: int, wanted: JobFilter = ANY_JOB) -> list[Plain]:
        asked = {"limit": min(limit, PAGE), **_filter(wanted)}
        return list((await self._call("GET", f"/v1/jobs?{urlencode(asked)}"))["data"])

    async def act_on_job(self, act: JobAct, job_id: str) -> Plain:
        return dict(await self._call("POST", f"/v1/jobs/{quote(job_id, safe='')}/{act}"))

    async def quarantine(self, limit: int, wanted: JobFilter) -> list[Plain]:
        asked = {"limit": min(limit, PAGE), **_filter(wanted)}
        return list((await self._call("GET", f"/v1/quarantine?{urlencode(asked)}"))["data"])

    async def retry_quarantine(self, wanted: JobFilter) -> int:
        return int((await self._call("POST", "/v1/quarantine/retry", _filter(wanted)))["documents"])

    async def pauses(self) -> list[Plain]:
        return list((await self._call("GET", "/v1/pauses"))["data"])

    async def pause_jobs(self, kind: PauseKind, name: str) -> None:
        await self._call("PUT", "/v1/pauses", {"kind": kind, "name": name})

    async def resume_jobs(self, kind: PauseKind, name: str) -> None:
        await self._call("DELETE", f"/v1/pauses?{urlencode({'kind': kind, 'name': name})}")

    async def job(self, job_id: str) -> Plain:
        return dict(await self._call("GET", f"/v1/jobs/{quote(job_id, safe='')}"))

    async def progress(self, job_id: str) -> Plain:
        return await self.job(job_id)

    async def sources(self) -> list[Plain]:
        return list((await self._call("GET", "/v1/sources"))["data"])

    async def collections(self) -> list[Plain]:
        return list((await self._call("GET", "/v1/collections"))["data"])

    async def collection(self, name: str) -> Plain:
        return dict(await self._call("GET", f"/v1/collections/{await self._collection_id(name)}"))

    async def reembed(self, collection: str, model: str | None) -> Plain:
        at = f"/v1/collections/{await self._collection_id(collection)}/reembed"
        return dict(await self._call("POST", at, {"model": model}))

    async def reprocess(self, collection: str, only_stale: bool) -> Plain:
        at = f"/v1/collections/{await self._collection_id(collection)}/reprocess"
        return dict(await self._call("POST", at, {"only_stale": only_stale}))

    async def expire(self, collection: str, confirm_deletions: bool) -> list[Plain]:
        at = f"/v1/collections/{await self._collection_id(collection)}/forget"
        return list((await self._call("POST", at, {"confirm_deletions": confirm_deletions}))["data"])

    async def _collection_id(self, name: str) -> str:
        """A name may hold letters that a path may not."""
        ids = [each["id"] for each in await self.collections() if each["name"] == name]
        return ids[0] if ids else quote(name, safe="")

    async def documents(self, collection: str | None, limit: int, after: str | None) -> list[Plain]:
        found: list[Plain] = []
        while len(found) < limit:
            asked = _given({"collection": collection, "limit": min(limit - len(found), PAGE), "after": after})
            page = await self._call("GET", f"/v1/documents?{urlencode(asked)}")
            found += page["data"]
            after = page.get("next")
            if not after:
                break
        return found

    async def document(self, document_id: str) -> Plain:
        return dict(await self._call("GET", _at(document_id)))

    async def chunks(self, document_id: str) -> list[Plain]:
        return list((await self._call("GET", _at(document_id) + "/chunks"))["data"])

    async def delete(self, document_id: str) -> None:
        await self._call("DELETE", _at(document_id))

    async def reveal(self, document_id: str, pseudonym: str) -> str:
        return str((await self._call("POST", _at(document_id) + "/reveal", {"pseudonym": pseudonym}))["value"])

    async def grant(self, document_id: str, allow: Sequence[str], deny: Sequence[str]) -> Plain:
        now, shut = await self._rights_now(document_id), set(deny)
        opened = set(allow) - shut
        return await self._set(document_id, set(now["allow"]) - shut | opened, set(now["deny"]) - opened | shut)

    async def revoke(self, document_id: str, marks: Sequence[str]) -> Plain:
        now = await self._rights_now(document_id)
        return await self._set(document_id, set(now["allow"]) - set(marks), set(now["deny"]))

    async def _rights_now(self, document_id: str) -> Plain:
        return (await self.document(document_id)).get("rights") or {"allow": [], "deny": []}

    async def _set(self, document_id: str, allow: set[str], deny: set[str]) -> Plain:
        body = {"allow": sorted(allow), "deny": sorted(deny)}
        return dict(await self._call("PUT", _at(document_id) + "/rights", body))

    async def levels(self) -> list[Plain]:
        return list((await self._call("GET", "/v1/rights"))["data"])

    async def set_level(
        self, kind: LevelKind, name: str, allow: Sequence[str], deny: Sequence[str], collection: str
    ) -> Plain:
        lists = {"allow": list(allow), "deny": list(deny)}
        return dict(
            await self._call("PUT", "/v1/rights", {"kind": kind, "name": name, "collection": collection, **lists})
        )

    async def inherit(self, document_id: str) -> Plain:
        return dict(await self._call("DELETE", _at(document_id) + "/rights"))

    async def why(self, document_id: str, mark: str) -> Plain:
        return dict(await self._call("GET", f"{_at(document_id)}/rights?{urlencode({'as': mark})}"))

    async def create_key(self, wanted: KeyRequest) -> Plain:
        body = {
            "name": wanted.name,
            "subject": wanted.subject,
            "groups": list(wanted.groups),
            "roles": list(wanted.roles),
            "scopes": list(wanted.scopes) or None,
            "expires_at": wanted.expires_at,
            "requests_per_min": wanted.requests_per_min,
            "tokens_per_min": wanted.tokens_per_min,
            "usd_per_day": wanted.usd_per_day,
            "concurrent": wanted.concurrent,
            "usd_per_month": wanted.usd_per_month,
            "tenant": wanted.tenant or None,
        }
        return dict(await self._call("POST", "/v1/keys", _given(body)))

    async def keys(self) -> list[Plain]:
        return list((await self._call("GET", "/v1/keys"))["data"])

    async def revoke_key(self, key_id: str) -> Plain:
        return dict(await self._call("DELETE", f"/v1/keys/{quote(key_id, safe='')}"))

    async def routes(self) -> Plain:
        return dict(await self._call("GET", "/v1/routes"))

    async def route(self, name: str) -> Plain:
        return dict(await self._call("GET", f"/v1/routes/{quote(name, safe='')}"))

    async def create_route(self, name: str, settings: Plain, enabled: bool) -> Plain:
        body = {"name": name, "settings": settings, "enabled": enabled}
        return dict(await self._call("POST", "/v1/routes", body))

    async def change_route(self, name: str, settings: Plain | None, enabled: bool | None) -> Plain:
        body = _given({"settings": settings, "enabled": enabled})
        return dict(await self._call("PUT", f"/v1/routes/{quote(name, safe='')}", body))

    async def remove_route(self, name: str) -> None:
        await self._call("DELETE", f"/v1/routes/{quote(name, safe='')}")


async def _batches(
    items: AsyncIterable[SourceItem | SkippedItem], skipped: list[Plain]
) -> AsyncIterator[list[SourceItem]]:
    """In order, each of at most BATCH items and LARGE_BYTES; a larger file travels alone. Skipped items are set aside."""
    batch: list[SourceItem] = []
    size_bytes = 0
    async for item in items:
        if isinstance(item, SkippedItem):
            skipped.append({"external_id": item.external_id, "reason": item.reason})
            continue
        if batch and (len(batch) >= BATCH or size_bytes + len(item.data) > LARGE_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(item)
        size_bytes += len(item.data)
    if batch:
        yield batch


def _filter(wanted: JobFilter) -> dict[str, str]:
    return {name: value for name, value in msgspec.structs.asdict(wanted).items() if value}


def _answer(answer_id: str, what: str) -> str:
    return f"/v1/answers/{quote(answer_id, safe='')}/{what}"


def _at(document_id: str) -> str:
    return f"/v1/documents/{quote(document_id, safe='')}"


def _named(collections: Sequence[str] | None) -> list[str] | None:
    return list(collections) if collections else None


def _given(values: Plain) -> Plain:
    return {name: value for name, value in values.items() if value is not None}


def _rights(rights: Rights | None) -> Plain:
    return {} if rights is None else {"allow": sorted(rights.allow), "deny": sorted(rights.deny)}


def _document(item: SourceItem) -> Plain:
    return {
        "external_id": item.external_id,
        "name": item.name,
        "title": item.title,
        "content_base64": base64.b64encode(item.data).decode(),
        "media_type": item.media_type,
        "metadata": dict(item.metadata),
        **_rights(item.rights),
    }


def _form(collection: str, item: SourceItem, rights: Rights | None) -> tuple[bytes, str]:
    """A multipart form of one file (RFC 7578)."""
    mark = secrets.token_hex(16)
    name = item.name.replace('"', "'").replace("\r", " ").replace("\n", " ")
    pairs = [("collection", collection)]
    pairs += [(kind, value) for kind, values in _rights(rights).items() for value in values]
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{kind}"\r\n\r\n{value}\r\n'.encode()
        for kind, value in pairs
    ]
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    parts.append((head + "Content-Type: application/octet-stream\r\n\r\n").encode() + item.data + b"\r\n")
    parts.append(f"--{mark}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={mark}"
