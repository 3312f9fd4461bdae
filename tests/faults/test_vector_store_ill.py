"""A vector store that is away, lies about what may be read, invents, repeats, and scores with what is no number (law 1 holds)."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from bascule.core.errors import StorageError
from bascule.core.vectors import Candidate
from bascule.testing.after import MARGIN_S
from bascule.testing.storage_world import COLLECTION, StorageWorld, storage_world

CANARY: Final = "zqcanary5f1c"
TIMEOUT_S: Final = 1.0
OPEN: Final = "kestrels nest on the northern pier"
Lie = Callable[[list[str]], list[Candidate]]


def _away(_: list[str]) -> list[Candidate]:
    raise StorageError("The index did not answer.")


LIES: dict[str, Lie] = {
    "away": _away,
    "everything, whoever asks": lambda ids: [Candidate(i, 1.0) for i in ids],
    "what it invents": lambda ids: [Candidate(f"{n:064x}", 0.9) for n in range(5_000)] + [Candidate("'; --", 1.0)],
    "the same again and again": lambda ids: [Candidate(i, 1.0 - n / 1e6) for n in range(500) for i in ids],
    "no numbers": lambda ids: [Candidate(i, s) for i in ids for s in (math.nan, math.inf, -math.inf, 1e308, -1e308)],
    "nothing": lambda ids: [],
}
TRUE_AMONG_OTHERS: Final = ("everything, whoever asks", "the same again and again")


async def asked(world: StorageWorld, key: str, path: str, body: dict[str, Any]) -> tuple[int, str]:
    status, answer = await world.ask("POST", path, {**body, "collections": [COLLECTION]}, key=key)
    text = json.dumps(answer, allow_nan=False)
    assert CANARY not in text, "a forbidden document was shown"
    return status, text


async def test_no_lie_shows_a_forbidden_document_and_the_truth_is_told_again_afterwards(tmp_path: Path) -> None:
    async with storage_world(tmp_path, rag={"embedding_model": "echo"}) as world:
        secret = {"external_id": "secret", "text": f"salaries nest here {CANARY}", "allow": ["group:hr"]}
        status, _ = await world.ask("POST", "/v1/documents", {"collection": COLLECTION, "documents": [secret]})
        assert status == 202
        world.accepted["secret"] = CANARY
        await world.finds(CANARY)
        _, made = await world.ask("POST", "/v1/keys", {"name": "ann", "scopes": ["ask"], "subject": "ann"})
        world.keys.append("ann")
        store = world.app.store
        assert store is not None
        ids = sorted(await store.chunk_ids("default"))
        assert len(ids) == 2
        for name, lie in LIES.items():
            await _told(world, made["key"], ids, name, lie)
        assert OPEN in (await asked(world, made["key"], "/v1/search", {"query": "where do kestrels nest?"}))[1]
        await world.whole()


async def _told(world: StorageWorld, key: str, ids: list[str], name: str, lie: Lie) -> None:
    async def lying(*_: Any) -> list[Candidate]:
        return lie(ids)

    with pytest.MonkeyPatch.context() as patch:
        for method in ("dense", "lexical"):
            patch.setattr(world.app.store, method, lying)
        for path, field in (("/v1/search", "query"), ("/v1/answers", "question")):
            status, text = await asked(world, key, path, {field: "where do kestrels nest?"})
            if name == "away":
                assert (status, text) == (503, '"storage_unavailable"')
            else:
                assert status == 200, (name, text)
                if path == "/v1/search" and name != "no numbers":
                    assert (OPEN in text) == (name in TRUE_AMONG_OTHERS)


@pytest.mark.parametrize("heeds", [True, False], ids=["can be cancelled", "does not heed it"])
async def test_F13_a_store_that_never_answers_is_told_at_the_questions_own_deadline(
    tmp_path: Path, heeds: bool
) -> None:
    async with storage_world(tmp_path, rag={"embedding_model": "echo"}, gateway={"timeout_s": TIMEOUT_S}) as world:
        free = asyncio.Event()

        async def silent(*_: Any) -> list[Candidate]:
            while not free.is_set():
                try:
                    await free.wait()
                except asyncio.CancelledError:
                    if heeds:
                        raise
            return []

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.app.store, "lexical", silent)
            began_s = time.monotonic()
            asked = [("/v1/search", "query"), ("/v1/answers", "question")] * 3
            said = await asyncio.gather(
                *(
                    world.ask("POST", path, {field: f"where do kestrels nest? {n}"})
                    for n, (path, field) in enumerate(asked)
                )
            )
            took_s = time.monotonic() - began_s
            free.set()
        assert {text for _, text in said} == {"storage_unavailable"} and {status for status, _ in said} == {503}
        assert TIMEOUT_S <= took_s < TIMEOUT_S + MARGIN_S
        await world.whole()
