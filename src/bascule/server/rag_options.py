"""What a chat request to `model="rag/<collection>"` asks beside its messages, as the SDKs can send it.

    extra_body={"bascule": {"filter": {"year": {"gte": 2024}}, "extractive": true}}
    metadata={"bascule_filter": "{\\"year\\": {\\"gte\\": 2024}}"}      for clients that know no other field; its values are texts

The filter is that of `POST /v1/answers`: the same grammar, the same limits, under the same rights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bascule.core.errors import InvalidRequest
from bascule.core.filter_grammar import read_filter
from bascule.rag.inquiry import EXTRACTIVE

FIELD: Final = "bascule"
IN_METADATA: Final = "bascule_filter"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    filter: dict[str, Any] | None = None
    extractive: bool = False


def rag_options(view: Mapping[str, Any]) -> dict[str, Any]:
    """As arguments of a question. Raises InvalidRequest before anything is looked up, in a stream before it begins."""
    try:
        options = msgspec.convert(view.get(FIELD) or {}, Options)
    except msgspec.ValidationError as error:
        told = f"`{FIELD}` has `filter` (an object) and `extractive` (true or false): {error}."
        raise InvalidRequest(told, param=FIELD) from None
    where = options.filter or {}
    if (text := _in_metadata(view)) is not None:
        if options.filter is not None:
            raise InvalidRequest(f"Send one filter: in `{FIELD}` or in `metadata`.", param="metadata")
        where = _decoded(text)
    read_filter(where)
    return {"where": where, "model": EXTRACTIVE if options.extractive else None}


def _in_metadata(view: Mapping[str, Any]) -> Any:
    metadata = view.get("metadata")
    return metadata.get(IN_METADATA) if isinstance(metadata, Mapping) else None


def _decoded(text: Any) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, TypeError, UnicodeEncodeError, RecursionError):
        raise InvalidRequest(f"`metadata.{IN_METADATA}` is a filter written as JSON.", param="metadata") from None
