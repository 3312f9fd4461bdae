"""API keys, for administrators: listed, made and revoked. A new key is shown in the reply that makes it, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from bascule.core.principals import ALL_SCOPES, DEFAULT_SCOPES
from bascule.server.console.visit import Visit
from bascule.server.exchange import Reply

_LIMITS: Final = {
    "requests_per_min": int,
    "tokens_per_min": int,
    "concurrent": int,
    "usd_per_day": float,
    "usd_per_month": float,
}


async def show(visit: Visit) -> Reply:
    """GET /console/keys."""
    return visit.page("keys.html", scopes=sorted(ALL_SCOPES), default=DEFAULT_SCOPES, **(await _rows(visit)))


async def _rows(visit: Visit) -> dict[str, Any]:
    """What `key_rows.html` shows: those that work first, then the newest."""
    found: list[dict[str, Any]] = (await visit.desk.ask("list_keys"))["data"]
    newest = sorted(found, key=lambda key: str(key["created_at"]), reverse=True)
    now = datetime.now(UTC)
    working = frozenset(key["id"] for key in found if works(key, now))
    keys = sorted(newest, key=lambda key: key["id"] not in working)
    return {"keys": keys, "working": working, "own": visit.desk.principal.key_id}


def works(key: Mapping[str, Any], now: datetime) -> bool:
    """Neither revoked nor expired: a rotated key expires when its overlap ends."""
    expires_at = key["expires_at"]
    return key["revoked_at"] is None and (expires_at is None or datetime.fromisoformat(expires_at) > now)


async def on_key(visit: Visit) -> Reply:
    """POST /console/keys to make one, POST /console/keys/{id} to revoke it."""
    if visit.rest:
        await visit.desk.ask("revoke_key", visit.rest)
        return visit.part("key_rows.html", **(await _rows(visit)))
    made = await visit.desk.ask("create_key", body=_body(visit))
    return visit.part("key_made.html", made=made, **(await _rows(visit)))


def _body(visit: Visit) -> dict[str, Any]:
    """The form as the API wants it. What is not a number goes on as it is, and is refused there by name."""
    asked = visit.asked
    body: dict[str, Any] = {
        "name": asked.get("name", "").strip(),
        "subject": asked.get("subject", "").strip(),
        "groups": [name.strip() for name in asked.get("groups", "").split(",") if name.strip()],
        "scopes": sorted(scope for scope in ALL_SCOPES if asked.get(f"scope-{scope}") == "on"),
    }
    if asked.get("expires_at"):
        body["expires_at"] = f"{asked['expires_at']}T00:00:00Z"
    for name, kind in _LIMITS.items():
        if text := asked.get(name, "").strip():
            body[name] = _number(text, kind)
    return body


def _number(text: str, kind: type[int] | type[float]) -> int | float | str:
    """JSON has no NaN and no infinity: as null they would mean "no limit"."""
    try:
        value = kind(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text
