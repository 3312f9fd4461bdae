"""Prometheus labels are bounded: what callers choose is never one."""

from __future__ import annotations

import contextlib

from prometheus_client import REGISTRY, generate_latest

from bascule.core.errors import NotFound
from bascule.gateway.metrics import POLICIES
from bascule.plugins.policies import pii
from bascule.testing.gateway import ScriptedModel, bench, call, principal, request
from bascule.testing.policies import with_policies


async def test_a_thousand_unknown_model_names_keys_and_users_add_no_label() -> None:
    b = bench(ScriptedModel())

    async def ask(number: int) -> None:
        who = principal(f"tenant-{number}", f"key-{number}", f"subject-{number}")
        with contextlib.suppress(NotFound):
            await b.gateway.chat(request(model=f"made-up-{number}"), call(who))
        await b.gateway.chat(request(str(number), user=f"user-{number}"), call(who))

    await ask(0)
    before = len(generate_latest(REGISTRY).splitlines())
    for number in range(1, 1000):
        await ask(number)
    after = generate_latest(REGISTRY)
    assert len(after.splitlines()) == before
    assert not any(name in after for name in (b"made-up", b"tenant-", b"key-1", b"subject-", b"user-"))


async def test_what_policies_find_is_counted_by_kind() -> None:
    labels = POLICIES.labels("pii", "in", "mask", "email")
    before = labels._value.get()
    b = with_policies([ScriptedModel()], {"pii": pii.PiiPolicy(pii.Settings())})
    await b.gateway.chat(request("a@b.com c@d.com a@b.com"), call())
    assert labels._value.get() == before + 3
