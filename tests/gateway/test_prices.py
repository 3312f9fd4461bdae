"""Prices come from the tables that genai-prices carries, where the operator gave none; the operator's own figures win."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bascule.bootstrap import prices as bootstrap_prices
from bascule.bootstrap.calls import routes
from bascule.bootstrap.prices import KEPT_AS, find_prices
from bascule.gateway.prices import Price, Wanted, _in_force, look_up
from bascule.settings import Exact, ModelSettings, ProviderSettings, TargetSettings

PROVIDERS = {
    "openai": ProviderSettings(kind="openai", base_url="https://api.openai.com/v1"),
    "anthropic": ProviderSettings(kind="anthropic"),
    "bedrock": ProviderSettings(kind="bedrock", region="eu-west-1"),
    "own": ProviderSettings(kind="openai", base_url="http://127.0.0.1:8000/v1"),
    "cluster": ProviderSettings(kind="openai", base_url="http://vllm:8000/v1"),
    "elsewhere": ProviderSettings(kind="openai", base_url="https://models.example.org/v1"),
    "echo": ProviderSettings(kind="echo"),
}


def model(provider: str, name: str, **fields: float) -> dict[str, ModelSettings]:
    return {"m": ModelSettings(targets=(TargetSettings(provider=provider, model=name, **fields),))}


async def test_a_known_vendor_and_model_need_no_price_in_the_configuration() -> None:
    models = {
        "chat": model("openai", "gpt-4o")["m"],
        "embed": model("openai", "text-embedding-3-small")["m"],
        "claude": model("anthropic", "claude-sonnet-4-5")["m"],
        "bedrock": model("bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0")["m"],
    }
    found = await find_prices(PROVIDERS, models)
    chat = found["openai", "gpt-4o"]
    assert chat == Price(input_usd_per_mtok=2.5, output_usd_per_mtok=10.0, cached_input_usd_per_mtok=1.25)
    assert found["openai", "text-embedding-3-small"].input_usd_per_mtok == 0.02
    assert found["anthropic", "claude-sonnet-4-5"].output_usd_per_mtok == 15.0
    assert found["bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0"].input_usd_per_mtok == 3.0
    made = routes(models, Exact(providers=PROVIDERS, models=models), found)
    assert made["chat"].targets[0].cost_usd(1_000_000, 100_000, 400_000) == pytest.approx(1.5 + 0.5 + 1.0)
    assert made["embed"].targets[0].cost_usd(1_000_000, 0) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("provider", "name"), [("own", "gpt-4o"), ("cluster", "gpt-4o"), ("openai", "gpt-4o"), ("echo", "any")]
)
async def test_no_process_is_started_where_no_table_can_help(
    provider: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(asked: bytes) -> bytes:
        pytest.fail("a process was started")

    monkeypatch.setattr(bootstrap_prices, "_run", never)
    given = {"input_usd_per_mtok": 9.0} if provider == "openai" else {}
    found = await find_prices(PROVIDERS, model(provider, name, **given))
    free = Price(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0)
    assert dict(found) == ({(provider, name): free} if provider == "echo" else {})


def test_the_operators_figures_win() -> None:
    price = Price(input_usd_per_mtok=1.0, output_usd_per_mtok=2.0, cached_input_usd_per_mtok=0.5)
    for given, expected in (
        ({"input_usd_per_mtok": 9.0}, (9.0, None, None)),
        ({"cached_input_usd_per_mtok": 0.1}, (1.0, 2.0, 0.1)),
        ({}, (1.0, 2.0, 0.5)),
    ):
        models = model("openai", "gpt-4o", **given)
        made = routes(models, Exact(providers=PROVIDERS, models=models), {("openai", "gpt-4o"): price})
        target = made["m"].targets[0]
        found = (target.input_usd_per_mtok, target.output_usd_per_mtok, target.cached_input_usd_per_mtok)
        assert found == expected


async def test_an_unknown_vendor_or_model_has_no_price_rather_than_a_guess() -> None:
    assert await find_prices(PROVIDERS, model("elsewhere", "gpt-4o")) == {}
    assert await find_prices(PROVIDERS, model("openai", "my-fine-tune")) == {}


async def test_an_answer_is_kept_for_the_day_and_asked_again_for_other_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def run(body: bytes) -> bytes:
        asked.append(body)
        return b'[{"input_usd_per_mtok":1.0}]'

    monkeypatch.setattr(bootstrap_prices, "_run", run)
    for _ in range(2):
        found = await find_prices(PROVIDERS, model("openai", "gpt-4o"), tmp_path)
        assert found["openai", "gpt-4o"].input_usd_per_mtok == 1.0
    assert len(asked) == 1
    await find_prices(PROVIDERS, model("openai", "gpt-4.1"), tmp_path)
    assert len(asked) == 2
    (tmp_path / KEPT_AS).write_bytes(b"{")
    await find_prices(PROVIDERS, model("openai", "gpt-4.1"), tmp_path)
    assert len(asked) == 3 and sorted(p.name for p in tmp_path.iterdir()) == [KEPT_AS]


async def test_a_process_that_cannot_answer_leaves_prices_unknown(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert await find_prices(PROVIDERS, model("openai", "gpt-4o")) == {}
    assert "prices could not be looked up" in caplog.text


def test_a_price_that_has_not_begun_does_not_count_and_of_the_hours_of_a_day_the_dearest_does() -> None:
    from genai_prices.data_snapshot import get_snapshot

    _, o3 = get_snapshot().find_provider_model("o3", None, "openai", None)
    assert [float(p.input_mtok) for p in _in_force(o3.prices, datetime(2025, 6, 9, tzinfo=UTC))] == [10.0]
    assert [float(p.input_mtok) for p in _in_force(o3.prices, datetime(2025, 6, 11, tzinfo=UTC))] == [2.0]
    deepseek = look_up([Wanted(model="deepseek-chat", url="https://api.deepseek.com/v1")])[0]
    assert deepseek is not None and deepseek.input_usd_per_mtok == 0.27
