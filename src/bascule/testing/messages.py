"""A running Bascule with a vendor of Anthropic's format and one of OpenAI's behind it, and both vendors' SDKs to drive it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai

from bascule.bootstrap import App
from bascule.testing.running import running, settings_for, until
from bascule.testing.upstream import FakeUpstream, fake_upstream

HI: list[Any] = [{"role": "user", "content": "Hi"}]
CITY: list[Any] = [{"role": "user", "content": "How warm is it?"}]
PIXEL = "iVBORw0KGgo="
WEATHER: Any = {
    "name": "weather",
    "description": "How warm it is in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Worlds:
    """Models: `claude` at the vendor of Anthropic's format, `gpt` at the one of OpenAI's. Clients carry the admin key."""

    def __init__(self, url: str, app: App, admin: str, claude: FakeUpstream, gpt: FakeUpstream) -> None:
        self.url = url
        self.app = app
        self.anthropic = claude
        self.openai = gpt
        self.client = self.as_key(admin)
        self.openai_client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=admin, max_retries=0, timeout=20)

    def as_key(self, key: str) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(base_url=self.url, api_key=key, max_retries=0, timeout=20)

    def vendor(self, model: str) -> FakeUpstream:
        return self.anthropic if model == "claude" else self.openai

    def under_way(self, callers: int) -> bool:
        """So many callers share the calls under way."""
        flights = self.app.gateway._shared._flights.values()
        return sum(len(flight.waiters) for flight in flights) == callers

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, 5)


@asynccontextmanager
async def worlds(
    data: Path, *, anthropic_settings: dict[str, Any] | None = None, **gateway: Any
) -> AsyncIterator[Worlds]:
    """The vendors' key is taken from the environment: set UPSTREAM_KEY."""
    async with fake_upstream() as claude, fake_upstream() as gpt:
        key = {"api_key": "env:UPSTREAM_KEY"}
        settings = settings_for(
            data,
            providers={
                "a": {"kind": "anthropic", "base_url": claude.url, **key, **(anthropic_settings or {})},
                "o": {"kind": "openai", "base_url": gpt.url, **key},
            },
            models={
                "claude": {"targets": [{"provider": "a", "model": "claude-x"}]},
                "gpt": {"targets": [{"provider": "o", "model": "gpt-x"}]},
            },
            gateway={"max_attempts": 1, "timeout_s": 10, **gateway},
        )
        async with running(settings) as (url, app, admin):
            made = Worlds(url, app, admin, claude, gpt)
            async with made.client, made.openai_client:
                yield made
