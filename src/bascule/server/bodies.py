"""What callers may send: every request body with its limits. Unknown fields are refused by name."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec

from bascule.core.errors import InvalidRequest

T = TypeVar("T")

MAX_QUESTION = 4_000
MAX_DOCUMENTS = 200

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Line = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
Question = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_QUESTION, pattern=r"^[^\x00]+$")]
Scalar = Annotated[str, msgspec.Meta(max_length=2_000, pattern=r"^[^\x00]*$")] | int | float | bool | None
Scalars = Annotated[list[Scalar], msgspec.Meta(max_length=100)]
Metadata = Annotated[dict[Name, Scalar | Scalars], msgspec.Meta(max_length=50)]
Collections = Annotated[list[Name], msgspec.Meta(min_length=1, max_length=50)]
Marks = Annotated[list[Name], msgspec.Meta(max_length=500)]
Members = Annotated[list[Name], msgspec.Meta(max_length=10_000)]
Path = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body of our own."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation, as OpenAI writes it; other fields are ignored."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None


class AnswerBody(Body, frozen=True, kw_only=True):
    """`question`, or `messages` whose last is the user's question. `filter`: see `core.filter_grammar`."""

    question: Question | None = None
    messages: Annotated[list[Message], msgspec.Meta(min_length=1, max_length=100)] | None = None
    collections: Collections | None = None
    filter: dict[str, Any] = {}
    model: Name | None = None
    stream: bool = False


class SearchBody(Body, frozen=True, kw_only=True):
    query: Question
    collections: Collections | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10
    filter: dict[str, Any] = {}


class NewDocumentBody(Body, frozen=True, kw_only=True):
    """One document: `text`, or the bytes of a file as `content_base64`, or a public `url` to fetch it from, where the server does
    that (`server.fetch_urls`). Rights given here replace the request's own."""

    external_id: Name
    name: Line = ""
    title: Line = ""
    text: str | None = None
    content_base64: str | None = None
    url: str | None = None
    media_type: Line = ""
    allow: Marks | None = None
    deny: Marks | None = None
    metadata: Metadata = {}


class DocumentsBody(Body, frozen=True, kw_only=True):
    """`allow` and `deny`: rights of the documents that bring none of their own."""

    collection: Name
    documents: Annotated[list[NewDocumentBody], msgspec.Meta(min_length=1, max_length=MAX_DOCUMENTS)]
    allow: Marks | None = None
    deny: Marks | None = None


class RightsBody(Body, frozen=True, kw_only=True):
    """The rights a document has from now on: `public`, `user:U`, `group:G`, `role:R`."""

    allow: Marks = []
    deny: Marks = []


class LevelBody(Body, frozen=True, kw_only=True):
    """`name`: of a collection, of a source, or of a folder: a path with a slash at its end, as documents' external ids begin.
    `collection`: of a folder. Lists that are empty say nothing."""

    kind: Literal["collection", "source", "folder"]
    name: Path
    collection: str = ""
    allow: Marks = []
    deny: Marks = []


class WhyQuery(Body, frozen=True, kw_only=True):
    """`as`: user:U, group:G, role:R or public."""

    who: Name = msgspec.field(name="as")


class GroupBody(Body, frozen=True, kw_only=True):
    """`groups`: whoever is in one of them is in this group too."""

    name: Name
    users: Members = []
    groups: Members = []


class GroupPatch(Body, frozen=True, kw_only=True):
    name: Name
    add_users: Members = []
    remove_users: Members = []
    add_groups: Members = []
    remove_groups: Members = []


class UserBody(Body, frozen=True, kw_only=True):
    """`active` false: refused with every key and token, and in no group."""

    name: Name
    active: bool


class RevealBody(Body, frozen=True, kw_only=True):
    """`pseudonym` as it stands in the text, e.g. `[email:abcdefghij]`."""

    pseudonym: Line


class KeyBody(Body, frozen=True, kw_only=True):
    """Limits left out are the server's defaults; `scopes` left out are `chat` and `ask`. `expires_at`: ISO 8601, UTC."""

    name: Name
    tenant: Name | None = None
    subject: Line = ""
    groups: Marks = []
    roles: Marks = []
    scopes: (
        Annotated[
            list[Literal["chat", "ask", "ingest", "admin", "audit", "metrics", "act_as", "scim"]],
            msgspec.Meta(max_length=8),
        ]
        | None
    ) = None
    expires_at: Line | None = None
    requests_per_min: Annotated[int, msgspec.Meta(ge=1)] | None = None
    tokens_per_min: Annotated[int, msgspec.Meta(ge=1)] | None = None
    usd_per_day: Annotated[float, msgspec.Meta(gt=0)] | None = None
    concurrent: Annotated[int, msgspec.Meta(ge=1)] | None = None
    usd_per_month: Annotated[float, msgspec.Meta(gt=0)] | None = None


class RotateBody(Body, frozen=True, kw_only=True):
    """`overlap_s`: for how long the old key still works."""

    overlap_s: Annotated[float, msgspec.Meta(ge=0, le=2_592_000)] = 0.0


class ExpireBody(Body, frozen=True, kw_only=True):
    """ISO 8601, UTC; null for never."""

    expires_at: Line | None


class DocumentsQuery(Body, frozen=True, kw_only=True):
    """`after`: the last id of the page before."""

    collection: Name | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    after: Name | None = None


class LimitQuery(Body, frozen=True, kw_only=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


class PassageQuery(Body, frozen=True, kw_only=True):
    """`around`: how many passages before and after come with it."""

    around: Annotated[int, msgspec.Meta(ge=0, le=3)] = 0


_AT = re.compile(r" - at `\$\.?(.*)`$")
_FIELD = re.compile(r"(?:unknown|required) field `([^`]*)`")


def decode(data: bytes, kind: type[T]) -> T:
    """JSON to `kind`. Raises InvalidRequest naming the field."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise wrong_field(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidRequest("The body is not valid JSON.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None


def query(data: bytes, kind: type[T]) -> T:
    """A query string to `kind`. Raises InvalidRequest naming the parameter."""
    try:
        pairs = parse_qsl(data.decode("latin-1"), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise InvalidRequest("The query string has too many parameters.") from None
    try:
        return msgspec.convert(dict(pairs), kind, strict=False)
    except msgspec.ValidationError as error:
        raise wrong_field(error) from None


def wrong_field(error: msgspec.ValidationError) -> InvalidRequest:
    """From msgspec's words to ours, with the path of the field as `param`."""
    text = str(error)
    at = _AT.search(text)
    path = at.group(1) if at else ""
    named = _FIELD.search(text)
    if named:
        path = f"{path}.{named.group(1)}" if path else named.group(1)
    what = _AT.sub("", text).replace("Object contains unknown field", "There is no field")
    what = what.replace("Object missing required field", "This field is missing:")
    return InvalidRequest(f"{what}." if not named else f"{what} in this request.", param=path or None)
