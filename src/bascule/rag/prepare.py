"""A document's way from bytes to chunks, readable from top to bottom. Pure; untrusted bytes go through `sandbox` instead."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Final, Literal

import msgspec

from bascule.core.documents import PreparedDocument
from bascule.core.errors import IngestError
from bascule.core.parsing import Block, ParsedDocument, Parser
from bascule.core.recognise import KINDS, SECRET_KINDS, find
from bascule.rag import tokens
from bascule.rag.chunk import chunk, joined
from bascule.rag.clean import Cleaned, clean, clean_line
from bascule.rag.detect import MEDIA_TYPES, Detected, detect
from bascule.rag.language import language
from bascule.rag.names import Look
from bascule.rag.quality import quality
from bascule.rag.redact import redact, redact_blocks, value_of
from bascule.rag.signature import signature

Parsers = Callable[[str], Parser]
RedactMode = Literal["mask", "pseudonymise", "drop", "keep", "off"]
_MAX_TITLE_CHARS: Final = 200


class PrepareOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`tokenizer` is the path of the embedding model's tokenizer.json, "" for the estimate. `kinds` is what is masked.

    `names_model`: the spaCy model that looks for the names of people and places among `kinds`, "" for none.
    """

    chunk_tokens: int = 200
    redact: RedactMode = "mask"
    kinds: tuple[str, ...] = KINDS
    tokenizer: str = ""
    names_model: str = ""
    max_chunks: int = 100_000


class Tokens(msgspec.Struct, frozen=True):
    """How tokens are counted, and what to call it in the report."""

    count: tokens.Count
    name: str


def prepare(
    data: bytes,
    name: str,
    media_type: str,
    parsers: Parsers,
    options: PrepareOptions,
    counter: Tokens | None = None,
    mode: RedactMode | None = None,
    key: bytes = b"",
    look: Look = find,
) -> PreparedDocument:
    """Detect, parse, clean, redact (as `mode` says, else as the options do), chunk. `key`: the tenant's, for pseudonyms.

    Raises IngestError with a reason that says what to do.
    """
    counter = counter or Tokens(*tokens.load(options.tokenizer))
    detected = detect(data, name, media_type)
    parsed = parsers(detected.kind).parse(detected.data, name)
    cleaned = clean(parsed.blocks)
    if not cleaned.blocks:
        raise IngestError(
            "Nothing readable is left of the document: all of its text is hidden or invisible.", reason="empty"
        )
    mode = mode or options.redact
    key = key if mode == "pseudonymise" else b""
    kinds = _masked_kinds(mode, options.kinds)
    blocks, masked = redact_blocks(cleaned.blocks, kinds=kinds, drop=mode == "drop", key=key, look=look)
    if not blocks:
        raise IngestError(
            "Every passage of the document holds personal data, which this collection leaves out.", reason="empty"
        )
    chunks = chunk(blocks, budget=options.chunk_tokens, count=counter.count)
    if len(chunks) > options.max_chunks:
        raise IngestError(f"The document makes more than {options.max_chunks} chunks. Split it.", reason="too_large")
    title_masks: Counter[str] = Counter()
    title = redact(clean_line(parsed.title or _stem(name)), title_masks, kinds=kinds, key=key, look=look)[
        :_MAX_TITLE_CHARS
    ]
    report = _report(detected, parsed, cleaned, Counter(masked) + title_masks)
    text = joined(blocks)
    report |= {
        "blocks": len(blocks),
        "chunks": len(chunks),
        "characters": len(text),
        "quality": quality(text),
        "language": language("\n".join(block.text for block in blocks if block.kind != "code")),
        "tokens_by": counter.name,
    }
    return PreparedDocument(
        title=title,
        media_type=MEDIA_TYPES.get(detected.kind, ""),
        chunks=chunks,
        report=report,
        signature=signature(text),
    )


def reveal(
    data: bytes, name: str, media_type: str, parsers: Parsers, wanted: str, key: bytes, look: Look = find
) -> PreparedDocument:
    """A document without passages whose report says which `value` has the pseudonym `wanted`, "" for none."""
    detected = detect(data, name, media_type)
    parsed = parsers(detected.kind).parse(detected.data, name)
    title = Block(kind="paragraph", text=clean_line(parsed.title or _stem(name)))
    value = value_of([*clean(parsed.blocks).blocks, title], wanted, key, look)
    return PreparedDocument(title="", media_type="", chunks=(), report={"value": value})


def _masked_kinds(mode: RedactMode, kinds: Collection[str]) -> Collection[str]:
    """Secrets are masked in every mode but `off`, which is for test data."""
    if mode == "off":
        return ()
    return [kind for kind in kinds if kind in SECRET_KINDS] if mode == "keep" else kinds


def _stem(name: str) -> str:
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return unicodedata.normalize("NFC", last.rsplit(".", 1)[0] or last)


def _report(detected: Detected, parsed: ParsedDocument, cleaned: Cleaned, masked: Counter[str]) -> dict[str, Any]:
    """What happened to the document, for its owner to read: kinds and counts, never text."""
    report: dict[str, Any] = {"kind": detected.kind, **detected.notes}
    if detected.mislabelled:
        report["mislabelled"] = f"named as {detected.claimed}, read as {detected.kind} by its content"
    removed = dict(Counter(parsed.removed) + Counter(cleaned.removed))
    for pages in ("scanned_pages", "recognised_pages"):
        if parsed.metadata.get(pages):
            report[pages] = int(parsed.metadata[pages])
    for name, counts in (("removed", removed), ("repaired", cleaned.repaired), ("redacted", dict(masked))):
        if counts:
            report[name] = counts
    if any(reason in removed for reason in ("hidden_text", "bidi_controls", "tag_characters")):
        report["hidden_content"] = True
    return report
