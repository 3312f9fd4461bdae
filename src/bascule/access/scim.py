"""SCIM's words to values: resources, PATCH operations and filters (RFC 7644), as Okta and Entra ID write them.

Entra capitalises operations and sends "False" for false; Okta patches without a path. Attributes we have no use for are read over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from bascule.core.errors import InvalidRequest
from bascule.core.rights import parse_mark
from bascule.core.scim import SCHEMA, Field, GroupEdit, ScimGroup, ScimInvalid, ScimUser

KEPT: Final = ("displayName", "name", "emails")
_TEXT_CHARS: Final = 1_000
_EMAILS: Final = 20
_FILTER: Final = re.compile(r'\s*(\w+)\s+eq\s+("(?:[^"\\]|\\.)*")\s*', re.IGNORECASE)
_FIELDS: Final[Mapping[str, Field]] = {
    "id": "id",
    "username": "user_name",
    "externalid": "external_id",
    "displayname": "display_name",
}
_MEMBER: Final = re.compile(r'members\[\s*value\s+eq\s+("(?:[^"\\]|\\.)*")\s*\]', re.IGNORECASE)
_EMAIL: Final = re.compile(r'emails\[\s*type\s+eq\s+("(?:[^"\\]|\\.)*")\s*\]\.value', re.IGNORECASE)
_USER_PATHS: Final = {
    name.lower(): name for name in ("userName", "externalId", "active", "displayName", "name", "emails")
}
# A path that begins so means what we keep: to read it over would say done of a change that was not made.
_USER_WORDS: Final = ("username", "externalid", "active", "displayname")
_GROUP_WORDS: Final = ("members", "externalid", "displayname")
_UNSAFE: Final = re.compile(r"[\s,%\x00-\x1f]")

NamedBy = Literal["userName", "externalId"]
GroupNamedBy = Literal["displayName", "externalId"]


class Naming(msgspec.Struct, frozen=True):
    """Which attribute is the name in rights and tokens."""

    user: NamedBy = "userName"
    group: GroupNamedBy = "displayName"


def wanted_by(text: str) -> tuple[Field | None, str]:
    """`userName eq "ann"` and its like, the one form providers ask in. Raises ScimInvalid."""
    if not text.strip():
        return None, ""
    found = _FILTER.fullmatch(text[:2_000])
    field = _FIELDS.get(found[1].lower()) if found else None
    if found is None or field is None or "\\u0000" in found[2]:
        raise ScimInvalid('Filters are `userName|externalId|displayName|id eq "..."`.', "invalidFilter")
    return field, _unquoted(found[2])


# ---------------------------------------------------------------- users


def user_of(resource: Mapping[str, Any], naming: Naming) -> ScimUser:
    """A whole user, as POST and PUT bring it; a password in it goes no further. Raises ScimInvalid."""
    given = _lowered(resource)
    user_name, external_id = _text(given.get("username")), _text(given.get("externalid"))
    if not user_name:
        raise ScimInvalid("userName is missing.", "invalidValue")
    return ScimUser(
        user_name=user_name,
        name=_name("user", user_name if naming.user == "userName" else external_id, naming.user),
        external_id=external_id,
        active=_truth(given.get("active", True)),
        profile=_profile(given),
    )


def user_patch(operations: Sequence[Any], naming: Naming) -> Callable[[ScimUser], ScimUser]:
    """All operations in their order, over the user as it is then. Raises ScimInvalid, when it is applied too."""
    steps = _steps(operations, "User")

    def change(user: ScimUser) -> ScimUser:
        resource: dict[str, Any] = {
            "userName": user.user_name,
            "externalId": user.external_id,
            "active": user.active,
            **msgspec.json.decode(msgspec.json.encode(user.profile)),
        }
        for op, path, value in steps:
            _apply(resource, op, path, value)
        return msgspec.structs.replace(user_of(resource, naming), id=user.id)

    return change


def _apply(resource: dict[str, Any], op: str, path: str, value: Any) -> None:
    value = None if op == "remove" else value
    email = _EMAIL.fullmatch(path)
    if path.lower() in _USER_PATHS:
        resource[_USER_PATHS[path.lower()]] = value
    elif path.lower().startswith("name."):
        held = resource.get("name")
        resource["name"] = (held if isinstance(held, dict) else {}) | {path[5:]: value}
    elif email:
        kind = _unquoted(email[1])
        held = resource.get("emails")
        known = [entry for entry in held if isinstance(entry, dict)] if isinstance(held, list) else []
        others = [entry for entry in known if entry.get("type") != kind]
        resource["emails"] = others + ([] if value is None else [{"type": kind, "value": value}])
    else:
        _refuse_kept(path, _USER_WORDS)


def _profile(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"displayName": _text(given.get("displayname"))}
    name = given.get("name")
    if isinstance(name, dict):
        parts = {part: _text(_lowered(name).get(part.lower())) for part in ("formatted", "givenName", "familyName")}
        found["name"] = {part: text for part, text in parts.items() if text}
    emails = given.get("emails")
    if isinstance(emails, list):
        found["emails"] = [_email(entry) for entry in emails[:_EMAILS] if isinstance(entry, dict)]
    return {name: value for name, value in found.items() if value}


def _email(entry: Mapping[str, Any]) -> dict[str, Any]:
    given = _lowered(entry)
    kept: dict[str, Any] = {"value": _text(given.get("value")), "type": _text(given.get("type")) or "work"}
    return kept | ({"primary": True} if _truth(given.get("primary", False)) else {})


# ---------------------------------------------------------------- groups


def group_of(resource: Mapping[str, Any], naming: Naming) -> tuple[ScimGroup, frozenset[str]]:
    """A whole group, and the ids of its members. Raises ScimInvalid."""
    given = _lowered(resource)
    display_name, external_id = _text(given.get("displayname")), _text(given.get("externalid"))
    if not display_name:
        raise ScimInvalid("displayName is missing.", "invalidValue")
    named = display_name if naming.group == "displayName" else external_id
    group = ScimGroup(display_name=display_name, name=_name("group", named, naming.group), external_id=external_id)
    return group, _members(given.get("members"))


def group_edit(operations: Sequence[Any]) -> GroupEdit:
    """All operations in their order, as one change. Raises ScimInvalid."""
    edit = GroupEdit()
    for op, path, value in _steps(operations, "Group"):
        edit = _edited(edit, op, path, value)
    return edit


def _edited(edit: GroupEdit, op: str, path: str, value: Any) -> GroupEdit:
    one = _MEMBER.fullmatch(path)
    if one is not None and op == "replace":
        raise ScimInvalid("A member is added or removed, not replaced.", "mutability")
    if one is not None or path.lower() == "members":
        ids = frozenset({_unquoted(one[1])}) if one is not None else _members(value)
        return _with_members(edit, op, ids, named=one is not None or value is not None)
    if path.lower() == "displayname":
        display_name = "" if op == "remove" else _text(value)
        if not display_name:
            raise ScimInvalid("displayName is missing.", "invalidValue")
        return msgspec.structs.replace(edit, display_name=display_name)
    if path.lower() == "externalid":
        return msgspec.structs.replace(edit, external_id="" if op == "remove" else _text(value))
    _refuse_kept(path, _GROUP_WORDS)
    return edit


def _with_members(edit: GroupEdit, op: str, ids: frozenset[str], *, named: bool) -> GroupEdit:
    if op == "replace" or (op == "remove" and not named):
        return msgspec.structs.replace(
            edit, members=frozenset() if op == "remove" else ids, add=frozenset(), remove=frozenset()
        )
    if op == "add":
        return msgspec.structs.replace(edit, add=edit.add | ids, remove=edit.remove - ids)
    return msgspec.structs.replace(edit, add=edit.add - ids, remove=edit.remove | ids)


def _members(value: Any) -> frozenset[str]:
    if value is None:
        return frozenset()
    entries = value if isinstance(value, list) else [value]
    ids = [_text(_lowered(entry).get("value")) if isinstance(entry, dict) else "" for entry in entries]
    if not all(ids):
        raise ScimInvalid("A member is an object with a value.", "invalidValue")
    return frozenset(ids)


# ---------------------------------------------------------------- words


def _steps(operations: Sequence[Any], kind: str) -> list[tuple[str, str, Any]]:
    """One attribute each: (op, path, value), the path without the core schema's URN before it. Raises ScimInvalid."""
    urn, found = f"{SCHEMA}{kind}".lower(), []
    for operation in operations:
        op, path, value = _operation(operation)
        if path.lower() in ("", urn):
            if not isinstance(value, dict):
                raise ScimInvalid("Without a path, value is an object of attributes.", "invalidValue")
            attributes: dict[str, Any] = value
        else:
            attributes = {path: value}
        found += [(op, _plain(name, urn), inner) for name, inner in attributes.items()]
    return found


def _plain(path: str, urn: str) -> str:
    return path[len(urn) + 1 :] if path.lower().startswith(urn + ":") else path


def _refuse_kept(path: str, words: tuple[str, ...]) -> None:
    if path.lower().startswith(words):
        raise ScimInvalid("This path is not understood.", "invalidPath")


def _operation(given: Any) -> tuple[str, str, Any]:
    known = _lowered(given) if isinstance(given, dict) else {}
    op, path = known.get("op"), known.get("path") or ""
    if not isinstance(op, str) or op.lower() not in ("add", "remove", "replace") or not isinstance(path, str):
        raise ScimInvalid("An operation has an op (add, remove or replace) and a path.", "invalidSyntax")
    if len(path) > _TEXT_CHARS:
        raise ScimInvalid("This path is too long.", "invalidPath")
    return op.lower(), path.strip(), known.get("value")


def _lowered(given: Mapping[str, Any]) -> dict[str, Any]:
    """Attribute names have no case (RFC 7643, 2.1)."""
    return {str(name).lower(): value for name, value in given.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _TEXT_CHARS or "\x00" in value:
        raise ScimInvalid(f"This should be a text of at most {_TEXT_CHARS} characters.", "invalidValue")
    return value.strip()


def _truth(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ScimInvalid("active is true or false.", "invalidValue")
    return value


def _unquoted(text: str) -> str:
    try:
        return str(msgspec.json.decode(text, type=str))
    except msgspec.DecodeError:
        raise ScimInvalid("This value is no JSON string.", "invalidFilter") from None


def _name(kind: str, text: str, attribute: str) -> str:
    """As rights spell it. Blanks and commas of a group's name are percent-encoded: no two groups become one."""
    if not text:
        raise ScimInvalid(f"{attribute} is missing, by which rights know a {kind} here.", "invalidValue")
    name = text
    if kind == "group":
        name = _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)
    try:
        parse_mark(f"{kind}:{name}")
    except InvalidRequest:
        raise ScimInvalid(
            f"{attribute} cannot be a name in rights: no blanks, no commas, 200 characters.", "invalidValue"
        ) from None
    return name
