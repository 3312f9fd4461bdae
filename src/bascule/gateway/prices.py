"""What vendors charge, from the tables that `genai-prices` carries: `python -m bascule.gateway.prices`.

Run as a process of its own, which reads Wanted as JSON and writes a Price or null for each: the tables take 100 MB and a second
to load, and a server needs a few numbers of them, once. Nothing is fetched.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A model, and who sells it: known by the URL it is called at, or by genai-prices' own name of the vendor."""

    model: str
    url: str = ""
    vendor: str = ""


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """USD for a million tokens. None: the table does not say."""

    input_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    cached_input_usd_per_mtok: float | None = None


def look_up(wanted: Iterable[Wanted]) -> list[Price | None]:
    """None for a vendor or a model that the tables do not know: a price is never guessed from a model's name alone."""
    return [_one(each, datetime.now(UTC)) for each in wanted]


def _one(wanted: Wanted, now: datetime) -> Price | None:
    from genai_prices.data_snapshot import get_snapshot

    tables = get_snapshot()
    for vendor, url in ((None, wanted.url), (wanted.vendor, None)):
        if not vendor and not url:
            continue
        try:
            _, model = tables.find_provider_model(wanted.model, None, vendor, url)
        except LookupError:
            continue
        return _dearest(_in_force(model.prices, now))
    return None


def _in_force(prices: Any, now: datetime) -> list[Any]:
    """The newest price that has begun, and those of certain hours of the day that came after it."""
    from genai_prices.types import ModelPrice, TimeOfDateConstraint

    if isinstance(prices, ModelPrice):
        return [prices]
    found = []
    for entry in reversed(prices):
        if isinstance(entry.constraint, TimeOfDateConstraint):
            found.append(entry.prices)
        elif entry.constraint is None or entry.constraint.active(now):
            return [*found, entry.prices]
    return found


def _dearest(prices: Sequence[Any]) -> Price | None:
    """Of the hours of a day the dearest: a budget that reckons with less is overrun. Of sizes of a prompt the usual one."""

    def most(field: str) -> float | None:
        values = [getattr(price, field) for price in prices]
        return max((float(getattr(v, "base", v)) for v in values if v is not None), default=None)

    price = Price(
        input_usd_per_mtok=most("input_mtok"),
        output_usd_per_mtok=most("output_mtok"),
        cached_input_usd_per_mtok=most("cache_read_mtok"),
    )
    return None if price.input_usd_per_mtok is None and price.output_usd_per_mtok is None else price


def main() -> None:
    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Wanted])
    sys.stdout.buffer.write(msgspec.json.encode(look_up(wanted)))


if __name__ == "__main__":
    main()
