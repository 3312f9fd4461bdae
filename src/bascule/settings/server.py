"""Tables of the server itself: the listener, its telemetry, the catalogue and the stores."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from bascule.settings.section import Section


class ServerSettings(Section):
    host: str = Field(
        "127.0.0.1", description="Address to listen on. Anything but loopback needs at least one API key."
    )
    port: int = Field(8400, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    max_body_bytes: int = Field(10_000_000, gt=0, description="Largest request body; uploads have their own limit.")
    max_bodies_bytes: int = Field(
        128_000_000,
        gt=0,
        description="Bodies of all callers together while they are read and answered; what is beyond it is told to come again."
        " Bodies below 64 KB do not count.",
    )
    max_requests: int = Field(
        20_000,
        gt=0,
        description="Requests under way at once, waiting ones too; whoever comes beyond them is told to come again."
        " Probes and metrics are answered always.",
    )
    max_upload_bytes: int = Field(50_000_000, gt=0, description="Largest uploaded document.")
    fetch_urls: bool = Field(
        False, description="Let holders of the scope ingest bring documents by public URL; see [fetcher]."
    )
    drain_s: float = Field(20.0, ge=0, description="After SIGTERM, how long running requests may finish.")
    operator_tenant: str = Field(
        "default", description="The tenant whose administrators may make and change routes, which all tenants call."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Host names the console answers to, besides loopback; guards against DNS rebinding."
    )
    link_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts that links in written answers may lead to in the console; elsewhere an address stays text.",
    )


class TelemetrySettings(Section):
    otlp_endpoint: str = Field(
        "", description="Collector for OpenTelemetry spans, e.g. http://127.0.0.1:4318/v1/traces; empty for none."
    )
    otlp_headers: dict[str, str] = Field({}, description='Sent to the collector; values are "env:NAME" or "file:PATH".')
    service_name: str = Field("bascule", description="What the spans are said to come from.")


class CatalogueSettings(Section):
    deletion_ledger: Path | None = Field(
        None,
        description="What remembers deletions over a restored backup: keep it out of backups."
        " Empty for `deletions.ledger` in the data folder.",
    )
    url: str = Field(
        "",
        description="SQLAlchemy URL; empty for SQLite in the data folder. Postgres: postgresql+psycopg://user@host/name.",
    )


class StoreSettings(BaseModel):
    """`kind` names a plugin file; every other key belongs to that plugin's own Settings."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str
