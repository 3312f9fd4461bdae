"""The catalogue's tables. One set for SQLite and Postgres; JSON is kept as text, instants as ISO 8601 in UTC."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
calls_metadata = MetaData(naming_convention=metadata.naming_convention)

BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only a column of type INTEGER


class SafeText(TypeDecorator[str]):
    """Text that every engine stores: Postgres refuses NUL, both refuse lone surrogates (file names hold them)."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else stored_text(value)


def stored_text(value: str) -> str:
    """As it comes back from the database."""
    if value.isascii() and "\0" not in value:
        return value
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _text(name: str, **options: Any) -> Column[str]:
    return Column(name, SafeText, nullable=False, **options)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


# `canonical` and the entries are the rights in force. Where a set depends on levels (db/level_tables.py), `given` is what the
# document itself was given, and a change of a level writes canonical and entries anew: documents and chunks keep their number.
acls = Table(
    "acls",
    metadata,
    Column("id", BigId, primary_key=True),
    _text("tenant"),
    Column("digest", String(64), nullable=False),  # of `canonical`, which may be too long to index
    _text("canonical"),
    Column("given", SafeText),
    UniqueConstraint("tenant", "digest"),
    sqlite_autoincrement=True,
)

# effect: allow | deny | owner (then `mark` is the owning subject)
acl_entries = Table(
    "acl_entries",
    metadata,
    Column("acl_id", BigId, ForeignKey("acls.id"), primary_key=True),
    Column("effect", String(8), primary_key=True),
    Column("mark", SafeText, primary_key=True),
    _text("tenant"),
    Index(None, "tenant", "effect", "mark"),
)

collections = Table(
    "collections",
    metadata,
    Column("id", String(36), primary_key=True),
    _text("tenant"),
    _text("name"),
    _text("fingerprint"),
    _count("dimension"),
    Column("acl_id", BigId, ForeignKey("acls.id"), nullable=False),
    _text("created_at"),
    _text("model", server_default=""),
    _text("pin", server_default=""),
    _text("declined", server_default=""),  # the fingerprint that somebody cancelled embedding it with
    _count("generation"),
    UniqueConstraint("tenant", "name"),
)

# content_hash is of the latest accepted content, served_hash of the version in search. pending_acl_id: rights that come into
# force together with the content they were given for. item_id: the only item that may commit. key_id: of who brought it.
documents = Table(
    "documents",
    metadata,
    Column("id", String(36), primary_key=True),
    _text("tenant"),
    Column("collection_id", String(36), ForeignKey("collections.id"), nullable=False),
    _text("external_id"),
    _text("name"),
    _text("title"),
    _text("source"),
    Column("state", String(16), nullable=False),
    _count("version"),
    _text("content_hash"),
    _text("served_hash"),
    _text("served_blob"),
    _text("blob"),
    _text("media_type"),
    Column("size_bytes", BigInteger, nullable=False),
    _count("chunk_count"),
    Column("acl_id", BigId, ForeignKey("acls.id"), nullable=False),
    Column("pending_acl_id", BigId, ForeignKey("acls.id")),
    _text("metadata"),
    _text("report"),
    _text("reason"),
    Column("item_id", String(36), nullable=False),
    _text("key_id"),
    _text("prepared", server_default=""),
    _text("created_at"),
    _text("updated_at"),
    _text("changed_at", server_default=""),  # its content
    Column("deleted_at", SafeText),
    Index("ix_documents_acl_id", "tenant", "collection_id", "acl_id"),
    # The migration makes it partial (WHERE deleted_at IS NULL). Said here too, it would load Postgres's dialect at every start.
    Index("uq_documents_live_external_id", "collection_id", "external_id", unique=True),
)

# Only chunks of the version in search: a new version replaces them in its own commit, a delete removes them.
chunks = Table(
    "chunks",
    metadata,
    Column("id", String(32), primary_key=True),
    _text("tenant"),
    Column("document_id", String(36), ForeignKey("documents.id"), nullable=False),
    _count("version"),
    _count("ordinal"),
    _text("text"),
    _text("heading_path"),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("page", Integer),
    _count("tokens"),
    Column("kind", String(16), nullable=False),
    Index(None, "document_id", "ordinal"),
)

# An empty vector: the model refused the text, which is then found by its words.
vectors = Table(
    "vectors",
    metadata,
    Column("chunk_id", String(32), ForeignKey("chunks.id"), primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False, server_default=text("0")),
    Column("document_id", String(36), nullable=False, index=True),
    _text("fingerprint"),
    Column("vector", LargeBinary, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    _text("tenant"),
    Column("collection_id", String(36), ForeignKey("collections.id"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    _text("subject"),
    _text("key_id"),
    _text("created_at"),
    Column("finished_at", SafeText),
    _text("source", server_default=""),
    _count("priority"),
)

# `target`: the id of a collection, or what a source's documents carry as their source.
job_pauses = Table(
    "job_pauses",
    metadata,
    Column("tenant", SafeText, primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("target", SafeText, primary_key=True),
    _text("paused_at"),
)

items = Table(
    "items",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("job_id", String(36), ForeignKey("jobs.id"), nullable=False),
    _text("tenant"),
    Column("document_id", String(36), ForeignKey("documents.id"), nullable=False, index=True),
    _count("ordinal"),
    _text("name"),
    _text("media_type"),
    _text("title"),
    _text("blob"),
    _text("content_hash"),
    Column("state", String(16), nullable=False),
    _text("reason"),
    _text("code"),
    _count("attempts"),
    Index(None, "job_id", "state", "ordinal"),
    Index(None, "state"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("seq", BigId, primary_key=True),
    Column("kind", String(8), nullable=False),
    _text("tenant"),
    Column("document_id", String(36), nullable=False),
    Column("collection_id", String(36), nullable=False),
    Column("acl_id", BigId, nullable=False),
    sqlite_autoincrement=True,
)

# The ledger: what was ever deleted. A restore replays it, other processes follow it by seq.
deletions = Table(
    "deletions",
    metadata,
    Column("seq", BigId, primary_key=True),
    Column("document_id", String(36), nullable=False, unique=True),
    _text("tenant"),
    _text("deleted_at"),
    sqlite_autoincrement=True,
)

traces = Table(
    "traces",
    metadata,
    Column("id", String(36), primary_key=True),
    _text("tenant"),
    _text("subject"),
    _text("key_id"),
    _text("created_at"),
    _text("body"),  # the Trace as JSON without the three below, which a scrub empties in one statement
    _text("question"),
    _text("answer"),
    _text("facts"),  # of each stage, as a JSON list
    Column("scrubbed", Boolean, nullable=False, server_default=text("false")),
    Index(None, "tenant", "subject", "id"),
)

trace_documents = Table(
    "trace_documents",
    metadata,
    Column("trace_id", String(36), ForeignKey("traces.id"), primary_key=True),
    Column("document_id", String(36), primary_key=True, index=True),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(36), primary_key=True),
    _text("tenant"),
    _text("name"),
    _text("prefix"),
    Column("secret_hash", String(64), nullable=False, unique=True),
    _text("subject"),
    _text("grants"),  # groups, roles and scopes as JSON
    _text("created_at"),
    Column("expires_at", SafeText),
    Column("revoked_at", SafeText, index=True),
    Column("requests_per_min", Integer),
    Column("tokens_per_min", Integer),
    Column("usd_per_day", Float),
    Column("concurrent", Integer),
    Column("usd_per_month", Float),
)

memberships = Table(
    "memberships",
    metadata,
    Column("tenant", SafeText, primary_key=True),
    Column("subject", SafeText, primary_key=True),
    Column("group_name", SafeText, primary_key=True),
)

# What the configuration file has under [models.NAME], for models that an administrator made.
routes = Table(
    "routes",
    metadata,
    Column("name", String(128), primary_key=True),
    _text("settings"),
    Column("enabled", Boolean, nullable=False),
    _text("created_at"),
    _text("updated_at"),
)

# Counters bumped in the transaction of a change, so that watchers ask one row.
change_marks = Table(
    "change_marks",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# Append-only by trigger (see the initial migration); hash = SHA-256(prev, row).
audit_log = Table(
    "audit_log",
    metadata,
    Column("seq", BigId, primary_key=True),
    _text("tenant"),
    _text("at"),
    _text("subject"),
    _text("key_id"),
    _text("act"),
    _text("target"),
    _text("facts"),
    Column("prev", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    sqlite_autoincrement=True,
)

calls = Table(
    "calls",
    calls_metadata,
    Column("id", String(64), primary_key=True),
    _text("tenant"),
    _text("subject"),
    _text("key_id"),
    Column("started_at_s", Float, nullable=False),
    _text("body"),  # the CallRecord as JSON, without its text
    Index(None, "tenant", "started_at_s"),
)

# What an operator chose to keep of prompts and answers, masked. `documents`: a JSON list of whose text is in it.
call_texts = Table(
    "call_texts",
    calls_metadata,
    Column("call_id", String(64), primary_key=True),
    _text("tenant"),
    _text("prompt"),
    _text("answer"),
    _text("documents"),
)

call_documents = Table(
    "call_documents",
    calls_metadata,
    Column("call_id", String(64), primary_key=True),
    Column("document_id", String(36), primary_key=True, index=True),
)
