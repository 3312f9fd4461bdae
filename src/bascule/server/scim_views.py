"""SCIM resources and messages as JSON, and what this service says of itself (RFC 7643, sections 5 to 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bascule.core.scim import MESSAGES, SCHEMA, ScimGroup, ScimUser
from bascule.server.exchange import Header, Reply

TYPE: Final = b"application/scim+json"
BASE: Final = "/scim/v2"
MOST: Final = 1_000


def reply(body: Any, status: int = 200, *headers: Header) -> Reply:
    return Reply(status, msgspec.json.encode(body), TYPE, headers)


def error_body(status: int, detail: str, scim_type: str = "") -> bytes:
    """RFC 7644, 3.12: the status is a text."""
    kind = {"scimType": scim_type} if scim_type else {}
    return msgspec.json.encode({"schemas": [MESSAGES + "Error"], "status": str(status), **kind, "detail": detail})


def listed(total: int, start: int, resources: Sequence[Any]) -> dict[str, Any]:
    return {
        "schemas": [MESSAGES + "ListResponse"],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": len(resources),
        "Resources": list(resources),
    }


def user_view(user: ScimUser) -> dict[str, Any]:
    external = {"externalId": user.external_id} if user.external_id else {}
    return {
        "schemas": [SCHEMA + "User"],
        "id": user.id,
        **external,
        "userName": user.user_name,
        **user.profile,
        "active": user.active,
        "meta": _meta("User", user),
    }


def group_view(group: ScimGroup, *, members: bool) -> dict[str, Any]:
    external = {"externalId": group.external_id} if group.external_id else {}
    held = [{"value": m.id, "display": m.user_name, "$ref": f"{BASE}/Users/{m.id}"} for m in group.members]
    return {
        "schemas": [SCHEMA + "Group"],
        "id": group.id,
        **external,
        "displayName": group.display_name,
        **({"members": held} if members else {}),
        "meta": _meta("Group", group),
    }


def location(kind: str, resource_id: str) -> Header:
    return b"location", f"{BASE}/{kind}s/{resource_id}".encode()


def _meta(kind: str, resource: ScimUser | ScimGroup) -> dict[str, str]:
    return {
        "resourceType": kind,
        "created": resource.created_at,
        "lastModified": resource.updated_at,
        "location": f"{BASE}/{kind}s/{resource.id}",
    }


CONFIG: Final[dict[str, Any]] = {
    "schemas": [SCHEMA + "ServiceProviderConfig"],
    "patch": {"supported": True},
    "bulk": {"supported": False, "maxOperations": 0, "maxPayloadSize": 0},
    "filter": {"supported": True, "maxResults": MOST},
    "changePassword": {"supported": False},
    "sort": {"supported": False},
    "etag": {"supported": False},
    "authenticationSchemes": [
        {"type": "oauthbearertoken", "name": "API key", "description": "A key with the scope scim, as a bearer token."}
    ],
    "meta": {"resourceType": "ServiceProviderConfig", "location": BASE + "/ServiceProviderConfig"},
}

RESOURCE_TYPES: Final[list[dict[str, Any]]] = [
    {
        "schemas": [SCHEMA + "ResourceType"],
        "id": kind,
        "name": kind,
        "endpoint": f"/{kind}s",
        "schema": SCHEMA + kind,
        "meta": {"resourceType": "ResourceType", "location": f"{BASE}/ResourceTypes/{kind}"},
    }
    for kind in ("User", "Group")
]


def _attribute(name: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    plain = {"multiValued": False, "required": False, "caseExact": False, "mutability": "readWrite"}
    return {"name": name, "type": kind, **plain, "returned": "default", "uniqueness": "none", **more}


_PARTS: Final = [_attribute(name) for name in ("formatted", "givenName", "familyName")]
_EMAIL: Final = [_attribute("value"), _attribute("type"), _attribute("primary", "boolean")]
_MEMBER: Final = [_attribute("value", mutability="immutable"), _attribute("display", mutability="readOnly")]

SCHEMAS: Final[list[dict[str, Any]]] = [
    {
        "schemas": [SCHEMA + "Schema"],
        "id": SCHEMA + kind,
        "name": kind,
        "attributes": attributes,
        "meta": {"resourceType": "Schema", "location": f"{BASE}/Schemas/{SCHEMA}{kind}"},
    }
    for kind, attributes in (
        (
            "User",
            [
                _attribute("userName", required=True, uniqueness="server"),
                _attribute("externalId", caseExact=True),
                _attribute("active", "boolean"),
                _attribute("displayName"),
                _attribute("name", "complex", subAttributes=_PARTS),
                _attribute("emails", "complex", multiValued=True, subAttributes=_EMAIL),
            ],
        ),
        (
            "Group",
            [
                _attribute("displayName", required=True, uniqueness="server"),
                _attribute("externalId", caseExact=True),
                _attribute("members", "complex", multiValued=True, subAttributes=_MEMBER),
            ],
        ),
    )
]
