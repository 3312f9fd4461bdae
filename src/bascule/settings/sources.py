"""Tables of where documents come from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from bascule.settings.section import Section


class FetcherSettings(BaseModel):
    """`kind` names a file in plugins/fetchers; every other key belongs to that plugin's own Settings."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str = "guarded"


class SourceRightsSettings(Section):
    allow: tuple[str, ...] = Field((), description="Who may read: public, user:U, group:G or role:R.")
    deny: tuple[str, ...] = Field((), description="Who may not, whatever else allows it.")


class SourceSettings(BaseModel):
    """`kind` names a file in plugins/connectors; keys that are not listed here belong to that plugin's own Settings."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str = Field(description="folder, url, sitemap, crawl, feed, git, bucket or sql.")
    collection: str = Field(description="Where its documents go; made on first use.")
    tenant: str = Field("default", description="Whose documents they are.")
    allow: tuple[str, ...] | None = Field(
        None, description="Who may read its documents; without it only administrators, or as the collection says."
    )
    deny: tuple[str, ...] = Field((), description="Who may not, whatever else allows it.")
    rights: dict[str, SourceRightsSettings] = Field(
        {}, description="Rights by pattern of the document's id (path or URL); the last that matches decides."
    )
    max_deleted_share: float = Field(
        0.2, ge=0, le=1, description="When more of it than this has gone at once, nothing is deleted without a word."
    )
    every_s: float | None = Field(None, ge=1, description="Read again and again, so far apart; without it on request.")
