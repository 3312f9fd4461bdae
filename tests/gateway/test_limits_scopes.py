"""Key, end user, tenant and model: each has its own limits, and none says anything of the others."""

from __future__ import annotations

import msgspec
import pytest

from bascule.core.calls import Call
from bascule.core.chat import ANTHROPIC_MESSAGES, ChatRequest
from bascule.core.embedding import EmbeddingRequest
from bascule.core.errors import LimitExceeded
from bascule.core.principals import Principal, system_principal
from bascule.gateway.budgets import Budgets
from bascule.gateway.limit import Limit
from bascule.gateway.routes import Limits, Options, Route, Target
from bascule.testing.gateway import Bench, ScriptedModel, bench, call, principal, request
from bascule.testing.limits import Ledger, limited

ONCE = Limits(requests_per_min=1)


async def refused(b: Bench, asked: ChatRequest, who: Principal) -> LimitExceeded:
    with pytest.raises(LimitExceeded) as error:
        await b.gateway.chat(asked, call(who))
    return error.value


async def test_a_tenants_keys_share_its_limit_and_another_tenant_has_its_own() -> None:
    b = limited(ScriptedModel(), tenant=ONCE)
    await b.gateway.chat(request("a"), call(principal("acme", "k1")))
    error = await refused(b, request("b"), principal("acme", "k2"))
    assert error.limit == "requests per minute of this tenant" and "acme" not in error.message
    await b.gateway.chat(request("c"), call(principal("other", "k3")))


async def test_a_tenant_may_have_limits_of_its_own() -> None:
    b = limited(ScriptedModel(), tenant=ONCE, tenants={"big": Limits(requests_per_min=3)})
    for i in range(3):
        await b.gateway.chat(request(f"{i}"), call(principal("big", "k")))
    await refused(b, request("x"), principal("big", "k"))


async def test_a_models_limit_counts_every_tenants_calls_of_that_model_alone() -> None:
    b = limited(ScriptedModel(), model=Limits(requests_per_min=1))
    await b.gateway.chat(request("a"), call(principal("a", "k")))
    error = await refused(b, request("b"), principal("b", "l"))
    assert error.limit == "requests per minute of this model"
    await b.gateway.chat(request("b", model="other"), call(principal("b", "l")))


async def test_a_subject_has_one_limit_over_all_its_keys_and_cannot_name_another() -> None:
    b = limited(ScriptedModel(), user=ONCE)
    await b.gateway.chat(request("a"), call(principal("t", "k1", "ann")))
    error = await refused(b, request("b", user="somebody-else"), principal("t", "k2", "ann"))
    assert error.limit == "requests per minute of this user"
    await b.gateway.chat(request("b"), call(principal("t", "k1", "bob")))
    await b.gateway.chat(request("b"), call(principal("u", "k1", "ann")))


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
async def test_a_key_that_speaks_for_no_person_names_its_end_users_itself(field: str) -> None:
    b = limited(ScriptedModel(), user=ONCE)
    await b.gateway.chat(request("a", **{field: "customer-1"}), call())
    await refused(b, request("b", **{field: "customer-1"}), principal())
    await b.gateway.chat(request("b", **{field: "customer-2"}), call())
    # A label means something within its own key only: nobody uses up what is another's.
    await b.gateway.chat(request("b", **{field: "customer-1"}), call(principal("t", "another key")))


async def test_anthropics_way_to_name_the_end_user_counts_too() -> None:
    class Native(ScriptedModel):
        wires = frozenset({ANTHROPIC_MESSAGES})

    b = limited(Native(), user=ONCE)

    def message(text: str) -> ChatRequest:
        asked = request(text, metadata={"user_id": "customer-1"})
        return ChatRequest(wire=ANTHROPIC_MESSAGES, body=asked.body, view=asked.view, model=asked.model)

    await b.gateway.chat(message("a"), call())
    await refused(b, message("b"), principal())


async def test_changing_the_label_of_the_end_user_never_escapes_the_limit_of_the_key() -> None:
    b = limited(ScriptedModel(), user=Limits(requests_per_min=100), key=Limits(requests_per_min=3))
    for i in range(3):
        await b.gateway.chat(request(f"{i}", user=f"invented-{i}"), call())
    assert (await refused(b, request("x", user="new"), principal())).limit == "requests per minute of this key"


async def test_a_label_is_bounded_hashed_and_may_be_anything() -> None:
    ledger = Ledger()
    b = limited(ScriptedModel(), user=Limits(concurrent=1), state=ledger)
    for label in ("x" * 1_000_000, "\u202e\n", 7, None, ["a"], {"user_id": "a"}, ""):
        asked = request(f"{str(label)[:9]!r}")
        await b.gateway.chat(msgspec.structs.replace(asked, view={**asked.view, "user": label}), call())
    assert ledger.most and all(len(key) < 100 and "xxx" not in key for key in ledger.most)


async def test_all_limits_of_a_call_are_reserved_at_once_or_none() -> None:
    ledger = Ledger()
    tight = Limits(usd_per_day=0.0001)
    limits = Limits(tokens_per_min=100_000, concurrent=5, usd_per_month=10.0)
    b = limited(ScriptedModel(), key=limits, user=limits, tenant=limits, model=tight, state=ledger)
    error = await refused(b, request("a", max_tokens=500), principal("t", "k", "ann"))
    assert (error.limit, ledger.held("")) == ("USD per day of this model", 0)
    await b.gateway.chat(request("a", max_tokens=500, model="other"), call(principal("t", "k", "ann")))
    assert len(ledger.now) == 9 and ledger.reserved == 2


async def test_only_the_limits_there_are_cost_a_claim() -> None:
    ledger = Ledger()
    b = limited(ScriptedModel(), key=Limits(tokens_per_min=1000), state=ledger)
    await b.gateway.chat(request(), call())
    assert list(ledger.now) == ["tpm:key:1:t:k"]
    free = limited(ScriptedModel(), state=(untouched := Ledger()))
    await free.gateway.chat(request(), call())
    assert untouched.reserved == 0


async def test_where_nothing_can_be_limited_there_is_no_limit_layer() -> None:
    routes = {"m": Route(model="m", targets=(Target(provider="p", model="m"),))}
    assert Budgets(routes, Options(), None).none
    assert not Budgets(routes, Options(), lambda _: Limits()).none
    assert not Budgets(routes, Options(user_limits=ONCE), None).none
    assert not Budgets({"m": Route(model="m", targets=routes["m"].targets, limits=ONCE)}, Options(), None).none


async def test_a_call_that_nothing_limits_goes_straight_to_the_next_layer() -> None:
    class Next:
        def chat(self, request: ChatRequest, call: Call) -> str:
            return "the next layer's own coroutine"

    routes = {"fast": Route(model="fast", targets=(Target(provider="p", model="m"),))}
    layer = Limit(Next(), Ledger(), Budgets(routes, Options(), lambda _: Limits()))  # type: ignore[arg-type]
    assert layer.chat(request(), call()) == "the next layer's own coroutine"  # type: ignore[comparison-overlap]


async def test_who_the_request_is_for_is_not_looked_at_where_end_users_have_no_limits() -> None:
    class Unread(dict[str, object]):
        def get(self, *_: object) -> object:
            raise AssertionError("it was looked at")

    routes = {"fast": Route(model="fast", targets=(Target(provider="p", model="m"),))}
    budgets = Budgets(routes, Options(user_limits=Limits()), lambda _: ONCE)
    assert budgets.plan(principal(), "fast", Unread()) is budgets.plan(principal(), "fast", Unread())


async def test_background_work_is_not_limited() -> None:
    b = limited(ScriptedModel(), key=ONCE, tenant=ONCE, model=ONCE)
    for i in range(3):
        await b.gateway.embed(EmbeddingRequest(model="fast", texts=(f"{i}",)), call(system_principal("t")))


async def test_a_keys_changed_limits_hold_from_the_next_call() -> None:
    limits = {"k": Limits(requests_per_min=1)}
    b = bench(ScriptedModel(), limits=limits)
    await b.gateway.chat(request("a"), call())
    await refused(b, request("b"), principal())
    limits["k"] = Limits(tokens_per_min=10_000)
    await b.gateway.chat(request("b"), call())


async def test_who_is_refused_by_its_own_limit_uses_up_nothing_of_its_tenants() -> None:
    b = limited(ScriptedModel(), key=ONCE, tenant=Limits(requests_per_min=3))
    await b.gateway.chat(request("a"), call(principal("t", "greedy")))
    for i in range(5):
        await refused(b, request(f"{i}"), principal("t", "greedy"))
    for key in ("k1", "k2"):
        await b.gateway.chat(request("b"), call(principal("t", key)))


async def test_the_end_user_of_embeddings_counts_and_is_recorded_as_that_of_a_chat() -> None:
    b = limited(ScriptedModel(), user=ONCE)
    await b.gateway.embed(EmbeddingRequest(model="fast", texts=("a",), user="customer-1"), call())
    with pytest.raises(LimitExceeded):
        await b.gateway.embed(EmbeddingRequest(model="fast", texts=("b",), user="customer-1"), call())
    await refused(b, request("b", user="customer-1"), principal())
    await b.gateway.embed(EmbeddingRequest(model="fast", texts=("c",), user="customer-2"), call())
    assert [record.end_user for record in b.records] == ["customer-1", "customer-1", "customer-1", "customer-2"]
