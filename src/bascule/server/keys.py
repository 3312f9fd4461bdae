"""API keys over HTTP: made, listed and revoked by an administrator of the tenant."""

from __future__ import annotations

import logging

from bascule.bootstrap.reload import Reloaded
from bascule.core.errors import ConfigError, InvalidRequest
from bascule.core.principals import DEFAULT_SCOPES
from bascule.server.bodies import KeyBody
from bascule.server.route import Inquiry
from bascule.server.views import KeyList, KeyView

log = logging.getLogger(__name__)


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
        concurrent=body.concurrent,
        usd_per_month=body.usd_per_month,
    )
    await inquiry.app.authenticator.refresh()
    return KeyView.of(record, key)


async def list_keys(inquiry: Inquiry) -> KeyList:
    """GET /v1/keys."""
    return KeyList([KeyView.of(record) for record in await inquiry.app.keys.list(inquiry.principal)])


async def rotate_key(inquiry: Inquiry) -> KeyView:
    """POST /v1/keys/{id}/rotate. The new key is in this answer and nowhere else."""
    record, key = await inquiry.app.keys.rotate(inquiry.principal, inquiry.id, inquiry.body.overlap_s)
    await inquiry.app.authenticator.refresh()
    return KeyView.of(record, key)


async def expire_key(inquiry: Inquiry) -> KeyView:
    """POST /v1/keys/{id}/expire."""
    record = await inquiry.app.keys.expire(inquiry.principal, inquiry.id, inquiry.body.expires_at)
    await inquiry.app.authenticator.refresh()
    return KeyView.of(record)


async def reload(inquiry: Inquiry) -> Reloaded:
    """POST /v1/reload."""
    reloader = inquiry.app.reloader
    assert reloader is not None
    try:
        return await reloader.reload()
    except ConfigError as error:
        # The message may quote the file; the operator finds it in the log.
        log.error("the configuration is not reloaded: %s", error.message)
        raise InvalidRequest(
            "The configuration is not valid; the server's log says why. Nothing has changed."
        ) from None


async def revoke_key(inquiry: Inquiry) -> KeyView:
    """DELETE /v1/keys/{id}: no request with it succeeds here after this answer."""
    record = await inquiry.app.keys.revoke(inquiry.principal, inquiry.id)
    await inquiry.app.authenticator.refresh()
    return KeyView.of(record)
