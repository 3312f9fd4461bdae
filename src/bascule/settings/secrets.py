"""How the secrets of the data folder are kept."""

from __future__ import annotations

from pydantic import Field

from bascule.settings.section import Section


class SecretsSettings(Section):
    key: str = Field(
        "",
        description='What the secrets in the data folder are encrypted with: "env:NAME" or "file:PATH", outside of it; empty for'
        " clear. Needs the extra seal.",
    )
    old_keys: tuple[str, ...] = Field(
        (), description="References to keys they may still be encrypted with, until `bascule secrets rotate` has run."
    )
