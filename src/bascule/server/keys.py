"""API keys over HTTP: made, listed and revoked by an administrator of the tenant."""

from __future__ import annotations

from datetime import UTC, datetime

from bascule.core.errors import InvalidRequest, ScopeMissing
from bascule.core.principals import DEFAULT_SCOPES
from bascule.server.bodies import KeyBody
from bascule.server.route import Inquiry
from bascule.server.views import KeyList, KeyView


async def create_key(inquiry: Inquiry) -> KeyView:
    """POST /v1/keys. The whole key is in this answer and nowhere else."""
    body: KeyBody = inquiry.body
    tenant = inquiry.principal.tenant
    if body.tenant not in (None, tenant):
        raise ScopeMissing("A key is made in its maker's own tenant.")
    record, key = await inquiry.app.keys.create(
        inquiry.principal,
        name=body.name,
        tenant=tenant,
        subject=body.subject,
        groups=body.groups,
        roles=body.roles,
        scopes=body.scopes if body.scopes is not None else sorted(DEFAULT_SCOPES),
        expires_at=_instant(body.expires_at),
        requests_per_min=body.requests_per_min,
        tokens_per_min=body.tokens_per_min,
        usd_per_day=body.usd_per_day,
    )
    await inquiry.app.authenticator.refresh()
    return KeyView.of(record, key)


async def list_keys(inquiry: Inquiry) -> KeyList:
    """GET /v1/keys."""
    return KeyList([KeyView.of(record) for record in await inquiry.app.keys.list(inquiry.principal)])


async def revoke_key(inquiry: Inquiry) -> KeyView:
    """DELETE /v1/keys/{id}: no request with it succeeds after this answer."""
    record = await inquiry.app.keys.revoke(inquiry.principal, inquiry.id)
    await inquiry.app.authenticator.refresh()
    return KeyView.of(record)


def _instant(text: str | None) -> str | None:
    """ISO 8601 with a zone, to UTC. Raises InvalidRequest; also for an instant that has passed."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest("`expires_at` is an instant like 2030-01-31T12:00:00Z.", param="expires_at") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if at <= datetime.now(UTC):
        raise InvalidRequest("`expires_at` has passed already.", param="expires_at")
    return at.astimezone(UTC).isoformat()
