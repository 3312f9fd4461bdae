"""Keys from their making to the principal they become, against the real catalogue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bascule.access import authenticate
from bascule.access.authenticate import Authenticator
from bascule.access.keys import KeyService
from bascule.core.errors import AuthenticationFailed, InvalidRequest, NotFound, ScopeMissing, StorageError
from bascule.core.principals import DEFAULT_SCOPES, SCOPE_ADMIN, Principal, system_principal
from bascule.db.catalogue import SqlCatalogue, connect
from bascule.testing.catalogue_world import admin, person

OPERATOR = system_principal("acme")


@pytest.fixture
async def catalogue(tmp_path: Path) -> AsyncGenerator[SqlCatalogue]:
    async with connect(f"sqlite:///{tmp_path}/c.sqlite", f"sqlite:///{tmp_path}/l.sqlite") as opened:
        yield opened


@pytest.fixture
def service(catalogue: SqlCatalogue) -> KeyService:
    return KeyService(catalogue, catalogue)


async def principal_of(catalogue: SqlCatalogue, secret: str) -> Principal:
    authenticator = Authenticator(catalogue)
    await authenticator.refresh()
    return authenticator.principal(f"Bearer {secret}")


async def test_a_key_is_256_random_bits_shown_once_and_kept_as_a_hash(
    catalogue: SqlCatalogue, service: KeyService, tmp_path: Path
) -> None:
    record, secret = await service.create(OPERATOR, name="n")
    _, another = await service.create(OPERATOR, name="n")
    assert secret.startswith("bsk_") and len(secret) == 47 and secret != another
    assert record.prefix == secret[:12]
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert record.secret_hash.encode() in stored
    assert secret[12:].encode() not in stored


async def test_a_key_becomes_the_principal_it_was_made_for(catalogue: SqlCatalogue, service: KeyService) -> None:
    record, secret = await service.create(
        OPERATOR, name="n", tenant="shop", subject="ann", groups=["hr"], roles=["boss"], scopes=["ask", "ingest"]
    )
    assert await principal_of(catalogue, secret) == Principal(
        tenant="shop",
        subject="ann",
        groups=frozenset({"hr"}),
        roles=frozenset({"boss"}),
        scopes=frozenset({"ask", "ingest"}),
        key_id=record.id,
    )
    _, plain = await service.create(OPERATOR, name="n")
    found = await principal_of(catalogue, plain)
    assert (found.tenant, found.subject, found.scopes, found.system) == ("acme", "", DEFAULT_SCOPES, False)


async def test_a_keys_groups_only_narrow_its_subjects_groups(catalogue: SqlCatalogue, service: KeyService) -> None:
    _, secret = await service.create(OPERATOR, name="n", subject="ann", groups=["hr", "it"])
    await service.remove_from_groups(admin(), "ann", ["hr"])
    await service.add_to_groups(admin(), "ann", ["board"])
    assert (await principal_of(catalogue, secret)).groups == {"it"}
    _, narrow = await service.create(OPERATOR, name="n", subject="ann")
    assert (await principal_of(catalogue, narrow)).groups == frozenset()
    _, personless = await service.create(OPERATOR, name="n", groups=["board"])
    assert (await principal_of(catalogue, personless)).groups == {"board"}


async def test_the_same_subject_of_another_tenant_shares_no_group(catalogue: SqlCatalogue, service: KeyService) -> None:
    await service.create(OPERATOR, name="n", tenant="a", subject="ann", groups=["hr"])
    await service.add_to_groups(admin("b"), "ann", ["it"])
    _, secret = await service.create(OPERATOR, name="n", tenant="b", subject="ann", groups=["it"])
    assert (await principal_of(catalogue, secret)).groups == {"it"}
    assert await catalogue.memberships("a", "ann") == {"hr"}


@pytest.mark.parametrize(
    "sent", [None, "", "Bearer", "Bearer ", "Bearer nonsense", "Basic abc", "bsk_" + "x" * 43, "x" * 9999]
)
async def test_what_is_not_a_key_is_refused(catalogue: SqlCatalogue, service: KeyService, sent: str | None) -> None:
    await service.create(OPERATOR, name="n")
    authenticator = Authenticator(catalogue)
    await authenticator.refresh()
    with pytest.raises(AuthenticationFailed):
        authenticator.principal(sent)


async def test_a_bare_key_and_any_case_of_bearer_are_understood(catalogue: SqlCatalogue, service: KeyService) -> None:
    record, secret = await service.create(OPERATOR, name="n")
    authenticator = Authenticator(catalogue)
    await authenticator.refresh()
    for sent in (secret, f"Bearer {secret}", f"bearer  {secret} "):
        found = authenticator.principal(sent)
        assert authenticator.record(found) == record
    assert authenticator.record(person("ann")) is None


async def test_expired_and_revoked_keys_are_refused_like_unknown_ones(
    catalogue: SqlCatalogue, service: KeyService
) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=0.2)).isoformat()
    _, expiring = await service.create(OPERATOR, name="n", expires_at=soon)
    revoked_record, revoked = await service.create(OPERATOR, name="n")
    authenticator = Authenticator(catalogue)
    await authenticator.refresh()
    assert authenticator.principal(revoked)
    await service.revoke(admin(), revoked_record.id)
    await authenticator.refresh()
    last = time.monotonic() + 5
    while time.monotonic() < last:
        try:
            authenticator.principal(expiring)
        except AuthenticationFailed:
            break
        await asyncio.sleep(0.02)
    said = set()
    for secret in (expiring, revoked, "bsk_unknown"):
        with pytest.raises(AuthenticationFailed) as caught:
            authenticator.principal(secret)
        said.add(caught.value.message)
    assert len(said) == 1


async def test_watching_follows_changes_by_itself(catalogue: SqlCatalogue, service: KeyService) -> None:
    authenticator = Authenticator(catalogue)
    watching = asyncio.create_task(authenticator.watch(every_s=0.02))
    record, secret = await service.create(OPERATOR, name="n", subject="ann", groups=["hr"])
    await until(lambda: authenticator.principal(secret).groups == {"hr"})
    await service.remove_from_groups(admin(), "ann", ["hr"])
    await until(lambda: authenticator.principal(secret).groups == frozenset())
    await service.revoke(admin(), record.id)

    def refused() -> bool:
        try:
            authenticator.principal(secret)
        except AuthenticationFailed:
            return True
        return False

    await until(refused)
    watching.cancel()
    await asyncio.wait([watching])


async def test_nobody_is_let_in_when_keys_could_not_be_checked_for_long(
    catalogue: SqlCatalogue, service: KeyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticate, "STALE_AFTER_S", 0.2)
    _, secret = await service.create(OPERATOR, name="n")

    class Failing:
        down = False

        def __getattr__(self, name: str) -> object:
            if self.down:
                raise StorageError("down")
            return getattr(catalogue, name)

    keys = Failing()
    authenticator = Authenticator(keys)  # type: ignore[arg-type]
    watching = asyncio.create_task(authenticator.watch(every_s=0.02))
    await until(lambda: authenticator.principal(secret) is not None)
    keys.down = True

    def refused() -> bool:
        try:
            authenticator.principal(secret)
        except StorageError:
            return True
        return False

    await until(refused)
    keys.down = False
    await until(lambda: not refused())
    watching.cancel()
    await asyncio.wait([watching])


async def test_a_key_never_exceeds_its_maker(catalogue: SqlCatalogue, service: KeyService) -> None:
    with pytest.raises(ScopeMissing):
        await service.create(person("ann"), name="n")
    with pytest.raises(NotFound):
        await service.create(admin("acme"), name="n", tenant="other")
    record, secret = await service.create(admin("acme"), name="n", scopes=[SCOPE_ADMIN])
    assert record.tenant == "acme"
    made = await principal_of(catalogue, secret)
    with pytest.raises(NotFound):
        await service.create(made, name="n", tenant="other")
    assert {key.tenant for key in await service.list(made)} == {"acme"}


@pytest.mark.parametrize(
    "bad",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"scopes": ["god"]},
        {"subject": "a b"},
        {"groups": ["x,y"]},
        {"roles": ["a\n+public"]},
        {"tenant": "../x"},
        {"expires_at": "tomorrow"},
        {"requests_per_min": 0},
        {"usd_per_day": float("inf")},
        {"usd_per_day": float("nan")},
        {"usd_per_month": float("nan")},
        {"concurrent": 0},
    ],
)
async def test_a_malformed_key_is_refused_and_nothing_is_kept(
    catalogue: SqlCatalogue, service: KeyService, bad: dict[str, object]
) -> None:
    with pytest.raises(InvalidRequest):
        await service.create(OPERATOR, **({"name": "n"} | bad))  # type: ignore[arg-type]
    assert await service.list(OPERATOR) == []


async def test_every_act_is_audited_and_refused_when_it_cannot_be(catalogue: SqlCatalogue, service: KeyService) -> None:
    record, secret = await service.create(OPERATOR, name="n", subject="ann", groups=["hr"])
    await service.revoke(admin(), record.id)
    rows = await catalogue.audit_rows(admin(), 10)
    assert [(row.act, row.target) for row in rows] == [("key.revoke", record.id), ("key.create", record.id)]
    assert secret not in str(rows) and record.secret_hash not in str(rows)

    class Broken:
        async def audit(self, *_: object) -> None:
            raise StorageError("The audit log cannot be written.")

    refused = KeyService(catalogue, Broken())
    for act in (refused.create(OPERATOR, name="n"), refused.add_to_groups(admin(), "ann", ["x"])):
        with pytest.raises(StorageError):
            await act
    assert len(await service.list(OPERATOR)) == 1
    assert await catalogue.memberships("acme", "ann") == {"hr"}


async def test_revoking_a_key_out_of_reach_looks_like_a_missing_one(service: KeyService) -> None:
    record, _ = await service.create(OPERATOR, name="n", subject="ben")
    said = set()
    for who, target in ((person("ann"), record.id), (admin("other"), record.id), (admin(), "missing")):
        with pytest.raises(NotFound) as caught:
            await service.revoke(who, target)
        said.add(caught.value.message)
    assert len(said) == 1
    assert (await service.revoke(person("ben"), record.id)).revoked_at


async def until(holds: object, within_s: float = 10.0) -> None:
    assert callable(holds)
    last = time.monotonic() + within_s
    while True:
        try:
            if holds():
                return
        except AuthenticationFailed:
            pass
        assert time.monotonic() < last
        await asyncio.sleep(0.01)
