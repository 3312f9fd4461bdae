"""What every catalogue shows to whom. Subclass `AccessContract` with a `catalogue` fixture of a class that is also a CallLog."""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec
import pytest

from bascule.core.calls import CallRecord
from bascule.core.catalogue import CallLog, Catalogue
from bascule.core.errors import NotFound, ScopeMissing
from bascule.core.filter_grammar import read_filter
from bascule.core.ids import new_id
from bascule.core.keys import KeyRecord
from bascule.core.principals import Principal
from bascule.core.rights import Rights
from bascule.core.traces import TraceFilter
from bascule.testing.catalogue_world import PUBLIC, World, admin, new_document, person, service, trace_of

ANN, BEN, HR = person("ann"), person("ben"), person("hal", "hr")
STRANGER = person("ann", tenant="other")
NOBODY = Rights()


class WholeCatalogue(Catalogue, CallLog, Protocol):
    """What the suite needs."""


class RightsContract:
    async def test_rights_decide_and_deny_beats_allow(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", "x", rights=Rights.of(["group:hr", "user:ben"], ["user:ben"], "ann"))
        seen = {p.subject: await world.sees(p, document) for p in (ANN, BEN, HR, admin())}
        assert seen == {"ann": True, "ben": False, "hal": True, "root": True}
        assert not await world.sees(STRANGER, document)
        assert not await world.sees(admin("other"), document)

    async def test_a_document_without_rights_inherits_its_collections(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        await world.collection("staff", Rights.of(["group:hr"]))
        document = await world.add("a", "x", by=ANN, collection="staff")
        assert document.rights == Rights.of(["group:hr"], owner="ann")
        assert [await world.sees(p, document) for p in (ANN, BEN, HR)] == [True, False, True]

    async def test_only_an_admin_may_give_ownership_away(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        mine = await world.add("a", "x", by=ANN, rights=Rights.of(["public"], owner="ben"))
        given = await world.add("b", "x", by=admin(), rights=Rights.of(["public"], owner="ben"))
        nobodys = await world.add("c", "x", by=admin(), rights=PUBLIC)
        own = await world.add("d", "x", by=admin())
        assert [d.rights.owner for d in (mine, given, nobodys, own)] == ["ann", "ben", "", "root"]

    async def test_a_change_of_rights_is_effective_at_commit_and_moves_the_index(
        self, catalogue: WholeCatalogue
    ) -> None:
        world = World(catalogue)
        document = await world.add("a", "x", by=ANN, rights=PUBLIC)
        await world.drain()
        changed = await catalogue.set_rights(ANN, document.id, Rights.of(["group:hr"]))
        assert changed.rights == Rights.of(["group:hr"], owner="ann")
        assert [await world.sees(p, document) for p in (ANN, BEN, HR)] == [True, False, True]
        (move,) = await catalogue.index_changes(10)
        (point,) = await catalogue.points("acme", document.id)
        assert (move.kind, move.acl_id) == ("move", point.acl_id)
        assert point.acl_id not in await catalogue.readable_acl_ids(BEN)
        await catalogue.set_rights(ANN, document.id, Rights.of(["group:hr"]))
        assert len(await catalogue.index_changes(10)) == 1

    async def test_changes_of_rights_at_once_are_all_kept(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", "x", by=ANN)

        def adding(mark: str) -> object:
            return catalogue.change_rights(
                ANN, document.id, lambda now: Rights(allow=now.allow | {mark}, deny=now.deny, owner=now.owner)
            )

        await asyncio.gather(*(adding(f"user:u{n}") for n in range(8)))  # type: ignore[call-overload]
        now = await catalogue.document(ANN, document.id)
        assert {f"user:u{n}" for n in range(8)} <= now.rights.allow

    async def test_looser_rights_given_with_new_content_do_not_open_the_old_content(
        self, catalogue: WholeCatalogue
    ) -> None:
        world = World(catalogue)
        document = await world.add("a", "salaries", by=ANN, rights=Rights.of(["group:hr"]))
        job = await world.accept(ANN, new_document("a", "redacted", PUBLIC))
        assert [await world.sees(p, document) for p in (ANN, BEN)] == [True, False]
        (item,) = await world.claim(job)
        assert await world.commit(item, "redacted")
        assert await world.sees(BEN, document)
        assert (await catalogue.document(BEN, document.id)).rights == Rights.of(["public"], owner="ann")

    async def test_tighter_rights_given_with_new_content_close_the_old_content_at_once(
        self, catalogue: WholeCatalogue
    ) -> None:
        world = World(catalogue)
        document = await world.add("a", "old", by=ANN, rights=Rights.of(["group:hr", "user:ben"]))
        await world.accept(ANN, new_document("a", "new", Rights.of(["group:hr"])))
        assert [await world.sees(p, document) for p in (ANN, BEN, HR)] == [True, False, True]

    async def test_rights_given_with_unchanged_content_are_effective_at_once(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", "x", by=ANN, rights=Rights.of(["group:hr"]))
        await world.accept(ANN, new_document("a", "x", PUBLIC))
        assert await world.sees(BEN, document)
        await world.accept(ANN, new_document("a", "x"))  # none given: they stay
        assert await world.sees(BEN, document)

    async def test_another_persons_document_cannot_be_overwritten(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        await world.add("a", "x", by=ANN, rights=PUBLIC)
        with pytest.raises(NotFound):
            await world.accept(BEN, new_document("mine", "y"), new_document("a", "y"))
        assert [d.external_id for d in await catalogue.documents(admin(), None, 10, None)] == ["a"]

    async def test_a_key_without_a_person_may_change_what_it_brought_itself(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", "x", by=service("sync"))
        await world.add("a", "y", by=service("sync"))
        with pytest.raises(NotFound):
            await catalogue.delete_document(service("else"), document.id)
        await catalogue.delete_document(service("sync"), document.id)

    async def test_an_owner_who_is_denied_may_not_change_the_document(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", "x", by=ANN, rights=Rights.of(["public"], ["user:ann"]))
        with pytest.raises(NotFound):
            await catalogue.set_rights(ANN, document.id, PUBLIC)


class ReadingContract:
    async def test_missing_and_forbidden_look_the_same_in_every_read(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        secret = await world.add("a", "x", rights=Rights.of(["group:hr"]), collection="secret")
        (chunk,) = await world.chunk_ids(secret)
        job = await world.accept(ANN, new_document("b", "x"))
        trace = trace_of(ANN, [secret.id])
        await catalogue.save_trace(trace)
        for principal in (BEN, STRANGER, admin("other"), service("k")):
            for read, real in (
                (catalogue.document, secret.id),
                (catalogue.document_chunks, secret.id),
                (catalogue.passage, chunk),
                (catalogue.job, job.id),
                (catalogue.trace, trace.id),
            ):
                said = set()
                for target in (real, new_id()):
                    with pytest.raises(NotFound) as caught:
                        await read(principal, target)
                    said.add((caught.value.message, caught.value.param))
                assert len(said) == 1

    async def test_an_unreadable_collection_looks_like_a_missing_one(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        await world.collection("empty")
        await world.add("a", "x", rights=Rights.of(["group:hr"]), collection="staff")
        await world.add("b", "x", rights=PUBLIC, collection="open")
        said = set()
        for name in ("empty", "staff", "missing"):
            for ask in (
                lambda name: catalogue.readable_collections(BEN, ["open", name]),
                lambda name: catalogue.documents(BEN, name, 10, None),
            ):
                with pytest.raises(NotFound) as caught:
                    await ask(name)
                said.add(caught.value.message)
        assert len(said) == 1
        assert [c.name for c in await catalogue.readable_collections(BEN, None)] == ["open"]
        assert [c.name for c in await catalogue.collections(BEN)] == ["open"]
        assert [c.name for c in await catalogue.collections(HR)] == ["open", "staff"]
        assert [c.name for c in await catalogue.collections(admin())] == ["empty", "open", "staff"]
        assert await catalogue.collections(admin("other")) == []
        assert [c.name for c in await catalogue.readable_collections(HR, ["staff", "open"])] == ["open", "staff"]

    async def test_an_owner_sees_its_empty_collection(self, catalogue: WholeCatalogue) -> None:
        await World(catalogue).collection("mine", Rights.of(owner="ann"))
        assert [c.name for c in await catalogue.collections(ANN)] == ["mine"]
        assert await catalogue.collections(BEN) == []

    async def test_check_lets_through_only_what_is_asked_for(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        a = await world.add("a", "x", rights=PUBLIC, metadata={"lang": "en", "year": 1, "draft": True})
        b = await world.add("b", "y", rights=PUBLIC, collection="else")
        ids = [*await world.chunk_ids(a), *await world.chunk_ids(b), "0" * 32]
        both = frozenset({a.collection_id, b.collection_id})
        assert set(await catalogue.check(BEN, ids, both)) == set(ids[:2])
        assert set(await catalogue.check(BEN, ids, frozenset({a.collection_id}))) == {ids[0]}
        assert await catalogue.check(BEN, ids, frozenset()) == {}
        assert await catalogue.check(BEN, [], both) == {}
        for where, hit in (
            ({"lang": "en"}, True),
            ({"lang": "en", "year": 1}, True),
            ({"lang": "de"}, False),
            ({"missing": {"exists": True}}, False),
            ({"year": {"gte": 1, "lt": 2}, "not": {"lang": "de"}}, True),
            ({"language": {"in": ["de", "en"]}}, True),
            ({"year": True}, False),
            ({"draft": 1}, False),
        ):
            assert bool(await catalogue.check(BEN, ids, both, read_filter(where))) is hit
        many = [*ids, *(f"{n:032x}" for n in range(1, 1500))]
        assert len(await catalogue.check(BEN, many, both)) == 2

    async def test_a_passage_brings_its_neighbours_in_reading_order(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", "one", "two", "three", "four", rights=PUBLIC)
        ids = await world.chunk_ids(document)
        chunk = await catalogue.passage(BEN, ids[1])
        assert (chunk.text, chunk.ordinal, chunk.heading_path, chunk.title) == ("two", 1, ("Top",), "a.txt")
        assert [c.text for c in await catalogue.neighbours(BEN, ids[1], 5, 1)] == ["one", "three"]
        with pytest.raises(NotFound):
            await catalogue.neighbours(STRANGER, ids[1], 1, 1)

    async def test_documents_are_listed_in_pages(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        made = [await world.add(f"d{n}", "x", rights=PUBLIC if n % 2 else NOBODY) for n in range(6)]
        readable = [d.id for d in made[1::2]]
        first = await catalogue.documents(BEN, "handbook", 2, None)
        rest = await catalogue.documents(BEN, "handbook", 2, first[-1].id)
        assert [d.id for d in [*first, *rest]] == readable

    async def test_jobs_are_seen_by_their_maker_and_admins(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        ann = await world.accept(ANN, new_document("a", "x"))
        sync = await world.accept(service("sync"), new_document("b", "x"))
        assert [j.id for j in await catalogue.jobs(ANN, 10)] == [ann.id]
        assert [j.id for j in await catalogue.jobs(service("sync"), 10)] == [sync.id]
        assert [j.id for j in await catalogue.jobs(admin(), 10)] == [sync.id, ann.id]
        assert await catalogue.jobs(BEN, 10) == await catalogue.jobs(admin("other"), 10) == []
        assert (await catalogue.job(service("sync"), sync.id)).items[0].name == "b.txt"

    async def test_a_job_does_not_name_documents_its_maker_may_no_longer_read(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        job = await world.accept(ANN, new_document("a", "x"))
        await catalogue.set_rights(admin(), job.items[0].document_id, Rights.of(deny=["user:ann"]))
        assert (await catalogue.job(ANN, job.id)).items[0].name == ""


class TracesContract:
    async def test_a_trace_is_read_by_whoever_asked_and_by_admins(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", "x", rights=PUBLIC)
        trace = trace_of(ANN, [document.id])
        assert await catalogue.save_trace(trace)
        assert await catalogue.trace(ANN, trace.id) == trace
        assert await catalogue.traces(admin(), 5) == [trace]
        assert await catalogue.traces(BEN, 5) == await catalogue.traces(STRANGER, 5) == []

    async def test_a_trace_hides_text_of_documents_its_reader_has_lost(self, catalogue: WholeCatalogue) -> None:
        world = World(catalogue)
        document = await world.add("a", "x", rights=PUBLIC)
        trace = trace_of(ANN, [document.id], answer="canary")
        await catalogue.save_trace(trace)
        await catalogue.set_rights(admin(), document.id, Rights.of(["group:hr"]))
        (seen,) = await catalogue.traces(ANN, 5)
        assert (seen.answer, seen.stages[0].facts, seen.scrubbed) == ("", {}, True)
        assert (await catalogue.trace(admin(), trace.id)).answer == "canary"

    async def test_answers_are_listed_to_whoever_asked_by_how_they_ended_and_where(
        self, catalogue: WholeCatalogue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        document = await World(catalogue).add("a", "x", rights=PUBLIC)
        made = [
            msgspec.structs.replace(trace_of(ANN, [document.id]), id=id, status=status, collections=(name,))
            for id, status, name in (
                ("1", "answered", "handbook"),
                ("2", "refused", "handbook"),
                ("3", "refused", "wiki"),
            )
        ]
        for trace in made:
            await catalogue.save_trace(trace)
        ids = ["3", "2", "1"]

        async def listed(who: Principal, limit: int = 9, **wanted: str) -> tuple[list[str], str | None]:
            found = await catalogue.trace_lines(who, limit, TraceFilter(**wanted))
            return [line.id for line in found.lines], found.next

        assert await listed(ANN) == await listed(admin()) == (ids, None)
        assert await listed(BEN) == await listed(STRANGER) == ([], None)
        assert await listed(ANN, status="refused") == (ids[:2], None)
        assert await listed(ANN, status="refused", collection="handbook") == (ids[1:2], None)
        first, further = await listed(ANN, 2)
        assert (first, further) == (ids[:2], ids[1]) and further
        assert await listed(ANN, before=further) == (ids[2:], None)
        monkeypatch.setattr("bascule.db.traces.LOOKED_AT", 1)
        assert await listed(ANN, status="answered") == ([], ids[0]), "a page looks a bounded way back"
        await catalogue.delete_document(admin(), document.id)
        (line, *_) = (await catalogue.trace_lines(ANN, 9)).lines
        assert (line.question, line.scrubbed) == ("", True)

    async def test_a_trace_may_not_name_another_tenants_document(self, catalogue: WholeCatalogue) -> None:
        document = await World(catalogue).add("a", "x", rights=PUBLIC)
        assert not await catalogue.save_trace(trace_of(STRANGER, [document.id]))


class KeysContract:
    async def test_keys_are_kept_and_revoked_and_every_change_moves_the_mark(self, catalogue: WholeCatalogue) -> None:
        marks = [await catalogue.change_mark()]
        key = _key("acme", "ann")
        await catalogue.add_key(admin(), key)
        marks.append(await catalogue.change_mark())
        assert await catalogue.active_keys() == await catalogue.keys(admin()) == [key]
        revoked = await catalogue.revoke_key(admin(), key.id)
        assert revoked.revoked_at is not None
        marks.append(await catalogue.change_mark())
        assert await catalogue.active_keys() == []
        assert await catalogue.keys(admin()) == [revoked]
        assert len(set(marks)) == 3

    async def test_keys_are_seen_and_revoked_within_ones_reach_only(self, catalogue: WholeCatalogue) -> None:
        system = World(catalogue).system
        anns, bens, others = _key("acme", "ann"), _key("acme", "ben"), _key("other", "ann")
        for key in (anns, bens, others):
            await catalogue.add_key(system, key)
        assert await catalogue.keys(ANN) == [anns]
        by_id = sorted((anns, bens, others), key=lambda key: key.id)
        assert await catalogue.keys(admin()) == [key for key in by_id if key.tenant == "acme"]
        assert await catalogue.keys(system) == by_id
        for principal, key in ((ANN, bens), (admin(), others), (STRANGER, anns)):
            with pytest.raises(NotFound):
                await catalogue.revoke_key(principal, key.id)
        with pytest.raises(NotFound):
            await catalogue.add_key(admin(), _key("other", "eve"))
        with pytest.raises(ScopeMissing):
            await catalogue.add_key(ANN, _key("acme", "ann"))
        assert (await catalogue.revoke_key(ANN, anns.id)).revoked_at

    async def test_memberships_belong_to_a_tenant(self, catalogue: WholeCatalogue) -> None:
        before = await catalogue.change_mark()
        await catalogue.add_membership(admin(), "ann", ["hr", "it"])
        await catalogue.add_membership(admin(), "ann", ["hr"])
        assert await catalogue.memberships("acme", "ann") == {"hr", "it"}
        assert await catalogue.memberships("other", "ann") == frozenset()
        await catalogue.remove_membership(admin("other"), "ann", ["hr"])
        await catalogue.remove_membership(admin(), "ann", ["it"])
        assert await catalogue.all_memberships() == {("acme", "ann"): frozenset({"hr"})}
        assert await catalogue.change_mark() != before
        for change in (catalogue.add_membership, catalogue.remove_membership):
            with pytest.raises(ScopeMissing):
                await change(ANN, "ann", ["boss"])

    async def test_call_records_are_read_by_their_caller_and_admins(self, catalogue: WholeCatalogue) -> None:
        mine, bens = _call(ANN, 2.0), _call(BEN, 1.0)
        await catalogue.add_calls([mine, bens])
        await catalogue.add_calls([mine])  # a writer that tries again
        assert await catalogue.calls(ANN, 10) == [mine]
        assert await catalogue.calls(admin(), 10) == [mine, bens]
        assert await catalogue.calls(STRANGER, 10) == await catalogue.calls(admin("other"), 10) == []


def _key(tenant: str, subject: str) -> KeyRecord:
    return KeyRecord(
        id=new_id(),
        tenant=tenant,
        name="n",
        prefix="bsk_12345678",
        secret_hash=new_id().replace("-", "") * 2,
        subject=subject,
        groups=frozenset({"g"}),
        roles=frozenset(),
        scopes=frozenset({"ask", "chat"}),
        created_at="2026-01-01T00:00:00.000Z",
        requests_per_min=5,
        usd_per_day=1.5,
    )


def _call(principal: Principal, at: float) -> CallRecord:
    empty = dict.fromkeys(("operation", "model", "provider", "provider_model", "cache", "cache_reason", "error"), "")
    return msgspec.convert(
        empty
        | {
            "id": new_id(),
            "tenant": principal.tenant,
            "subject": principal.subject,
            "key_id": principal.key_id,
            "started_at_s": at,
            "latency_s": 0.1,
            "first_byte_s": None,
            "input_tokens": 1,
            "output_tokens": 2,
            "cost_usd": None,
            "outcome": "ok",
            "attempts": [],
        },
        CallRecord,
    )


class AccessContract(RightsContract, ReadingContract, TracesContract, KeysContract):
    """All of the above."""
