"""API keys over HTTP: made, listed and revoked by an administrator of the tenant."""

from __future__ import annotations

from bascule.core.principals import DEFAULT_SCOPES
from bascule.server.bodies import KeyBody
from bascule.server.route import Inquiry
from bascule.server.views import KeyList, KeyView


async def create_key(inquiry: Inquiry) -> KeyView:
    """POST /v1/keys. The whole key is in this answer and nowhere else."""
    body: KeyBody = inquiry.body
    record, key = await inquiry.app.keys.create(
        inquiry.principal,
        name=body.name,
        tenant=body.tenant,
        subject=body.subject,
        groups=body.groups,
        roles=body.roles,
        scopes=body.scopes if body.scopes is not None else sorted(DEFAULT_SCOPES),
        expires_at=body.expires_at,
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
    """DELETE /v1/keys/{id}: no request with it succeeds here after this answer."""
    record = await inquiry.app.keys.revoke(inquiry.principal, inquiry.id)
    await inquiry.app.authenticator.refresh()
    return KeyView.of(record)
