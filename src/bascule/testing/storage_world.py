"""A running Bascule that answers from documents, and a caller who tries everything that needs its stores."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from bascule.bootstrap import App
from bascule.core.principals import system_principal
from bascule.testing.after import documented_codes, our_tasks
from bascule.testing.running import running, settings_for, until

COLLECTION: Final = "docs"
WITHIN_S: Final = 20.0
_ECHO: Final[dict[str, Any]] = {
    "providers": {"echo": {"kind": "echo"}},
    "models": {"echo": {"targets": [{"provider": "echo", "model": "echo"}]}},
}


@dataclass
class StorageWorld:
    """`accepted` are the documents whose upload was acknowledged, by external id; `calls` the ids of answered model calls, `keys`
    the names of keys that were acknowledged."""

    url: str
    app: App
    admin: str
    http: aiohttp.ClientSession
    accepted: dict[str, str] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def ask(self, method: str, path: str, body: Any = None, *, key: str = "") -> tuple[int, Any]:
        """Status and parsed body; an error's is its code, which must be documented."""
        headers = {"authorization": f"Bearer {key or self.admin}"}
        async with self.http.request(method, self.url + path, json=body, headers=headers) as reply:
            answer: Any = await reply.json(content_type=None) if reply.status != 204 else None
            if path == "/v1/chat/completions" and reply.status == 200:
                self.calls.append(reply.headers["x-request-id"])
        if reply.status >= 400:
            code = answer["error"]["code"]
            assert code in documented_codes(), code
            return reply.status, code
        return reply.status, answer

    async def chat(self) -> tuple[int, Any]:
        own = f"canary-{uuid.uuid4().hex}"
        asked = {"model": "echo", "messages": [{"role": "user", "content": own}]}
        status, answer = await self.ask("POST", "/v1/chat/completions", asked)
        assert status != 200 or own in answer["choices"][0]["message"]["content"]
        return status, answer

    async def upload(self, name: str, text: str) -> tuple[int, Any]:
        self.tried.add(name)
        documents = [{"external_id": name, "text": text, "allow": ["public"]}]
        status, job = await self.ask("POST", "/v1/documents", {"collection": COLLECTION, "documents": documents})
        if status == 202:
            self.accepted[name] = text
        return status, job

    async def upload_file(self, name: str, data: bytes) -> tuple[int, Any]:
        """As a form, whose larger files are spooled to disk before they are looked at."""
        form = aiohttp.FormData({"collection": COLLECTION, "allow": "public"})
        form.add_field("file", data, filename=name, content_type="text/plain")
        headers = {"authorization": f"Bearer {self.admin}"}
        async with self.http.post(self.url + "/v1/documents", data=form, headers=headers) as reply:
            answer = await reply.json()
        return (reply.status, answer["error"]["code"]) if reply.status >= 400 else (reply.status, answer)

    async def make_key(self, name: str) -> tuple[int, Any]:
        self.tried.add(name)
        status, made = await self.ask("POST", "/v1/keys", {"name": name, "scopes": ["chat"]})
        if status in (200, 201):
            self.keys.append(name)
        return status, made

    async def found(self, words: str) -> set[str]:
        """The texts of the passages a search for these words brings."""
        status, answer = await self.ask("POST", "/v1/search", {"query": words, "collections": [COLLECTION]})
        assert status == 200, answer
        return {hit["text"] for hit in answer["hits"]}

    async def finds(self, text: str) -> None:
        """The index follows the catalogue: it finds this now or soon."""

        async def there() -> bool:
            return any(text in shown for shown in await self.found(text))

        try:
            await until(there, WITHIN_S, 0.05)
        except TimeoutError:
            raise AssertionError(f"lost: {text}") from None

    async def whole(self, *, exact: bool = True) -> None:
        """After everything: what was acknowledged is there, once; what was not is not (unless `exact` is False: where the word
        that it was done may have been lost, it may be there); every call has its record."""
        await until(self._indexed, WITHIN_S, 0.05)
        for text in self.accepted.values():
            await self.finds(text)
        who = system_principal("default")
        listed = [d.external_id for d in await self.app.catalogue.documents(who, COLLECTION, 1000, None)]
        assert len(listed) == len(set(listed)), "a document is there twice"
        assert set(self.accepted) <= set(listed) <= set(self.accepted if exact else self.tried)
        _, keys = await self.ask("GET", "/v1/keys")
        named = [key["name"] for key in keys["data"] if key["name"] != "admin"]
        assert set(self.keys) <= set(named) <= set(self.keys if exact else self.tried)
        assert not exact or len(named) == len(set(named))
        assert await self.app.catalogue.audit_break() is None, "the audit log's chain is broken"
        await self.app.calls.flush()
        records = [record.id for record in await self.app.catalogue.calls(who, 100_000)]
        assert len(records) == len(set(records)) and set(self.calls) <= set(records), "a call has no record, or two"

    async def _indexed(self) -> bool:
        found = await self.app.catalogue.documents(system_principal("default"), COLLECTION, 1000, None)
        return {d.state for d in found} == {"indexed"}


@asynccontextmanager
async def storage_world(data: Path, **sections: Any) -> AsyncIterator[StorageWorld]:
    """Nothing of ours is left running at exit that did not run when it opened."""
    settings = settings_for(data, **{**_ECHO, **sections})
    async with running(settings) as (url, app, admin), aiohttp.ClientSession() as http:
        world = StorageWorld(url, app, admin, http)
        status, said = await world.upload("first", "kestrels nest on the northern pier")
        assert status == 202, said
        await until(world._indexed, WITHIN_S, 0.05)
        await world.finds(world.accepted["first"])
        before = our_tasks()
        yield world
        await until(lambda: len(our_tasks()) <= len(before), 5)
