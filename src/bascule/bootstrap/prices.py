"""Prices of the targets whose operator gave none, where the vendor and the model are known."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bascule.gateway.prices import Price, Wanted
from bascule.settings import ModelSettings, ProviderSettings, TargetSettings

log = logging.getLogger(__name__)

Prices = Mapping[tuple[str, str], Price]  # (provider, model)

LONGEST_S: Final = 20.0
KEPT_AS: Final = "prices.json"
# genai-prices' names of the vendors that one kind of provider speaks to, whatever its URL.
VENDORS: Final = {
    "anthropic": "anthropic",
    "azure_openai": "azure",
    "bedrock": "aws",
    "gemini": "google",
    "vertex": "google",
}
_FREE: Final = frozenset({"echo", "onnx"})  # they run here
_NOTHING: Final = Price(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0)


async def find_prices(
    providers: Mapping[str, ProviderSettings], models: Mapping[str, ModelSettings], data: Path | None = None
) -> Prices:
    """For every target without a price that has one in the tables. Starts a process only when there is one to ask for, and
    keeps its answer of the day in the folder `data`."""
    targets = {(t.provider, t.model): t for model in models.values() for t in model.targets}
    open_targets = [t for t in targets.values() if t.input_usd_per_mtok is None and t.output_usd_per_mtok is None]
    found = {(t.provider, t.model): _NOTHING for t in open_targets if providers[t.provider].kind in _FREE}
    asked = {(t.provider, t.model): wanted for t in open_targets if (wanted := _wanted(t, providers[t.provider]))}
    if asked:
        answers = await _remembered(list(asked.values()), data / KEPT_AS if data else None)
        found |= {place: price for place, price in zip(asked, answers, strict=True) if price is not None}
    return found


def _wanted(target: TargetSettings, provider: ProviderSettings) -> Wanted | None:
    """None where no vendor is known: a server in one's own network has no price in any table."""
    if provider.kind in _FREE:
        return None
    url = str((provider.model_extra or {}).get("base_url") or "")
    vendor = VENDORS.get(provider.kind, "")
    if url and not _public(url):
        return None
    return Wanted(model=target.model, url=url, vendor=vendor) if url or vendor else None


def _public(url: str) -> bool:
    with suppress(ValueError):
        host = urlsplit(url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_global
        except ValueError:
            return "." in host and not host.endswith((".local", ".internal", ".localhost"))
    return False


class _Kept(msgspec.Struct, frozen=True):
    """Answers of one day, as later tables and later days may say otherwise."""

    of: str
    prices: list[Price | None]


async def _remembered(wanted: list[Wanted], path: Path | None) -> list[Price | None]:
    asked = [version("genai-prices"), datetime.now(UTC).date().isoformat(), wanted]
    of = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
    kept = _read(path) if path is not None else None
    if kept is not None and kept.of == of and len(kept.prices) == len(wanted):
        return kept.prices
    found = await _ask(wanted)
    if found is None:
        log.warning("prices could not be looked up; calls of models without one cost nothing under a budget")
        return [None] * len(wanted)
    if path is not None:
        _write(path, _Kept(of, found))
    return found


def _read(path: Path) -> _Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):
        return None


def _write(path: Path, kept: _Kept) -> None:
    with suppress(OSError):  # it is only a shortcut
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.write_bytes(msgspec.json.encode(kept))
        fresh.replace(path)


async def _ask(wanted: list[Wanted]) -> list[Price | None] | None:
    """None where the process cannot be started or does not answer."""
    try:
        async with asyncio.timeout(LONGEST_S):
            return msgspec.json.decode(await _run(msgspec.json.encode(wanted)), type=list[Price | None])
    except (OSError, TimeoutError, msgspec.DecodeError):
        return None


async def _run(asked: bytes) -> bytes:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bascule.gateway.prices", stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        output, _ = await process.communicate(asked)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output
