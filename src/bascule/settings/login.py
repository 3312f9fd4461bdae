"""Signing in to the console by an identity provider."""

from __future__ import annotations

from pydantic import Field

from bascule.settings.section import Section


class LoginSettings(Section):
    issuer: str = Field(
        "", description="The table of [tokens] whose provider people sign in with; empty for keys alone."
    )
    client_id: str = Field("", description="What the provider knows the console as.")
    client_secret: str = Field(
        "", description='"env:NAME" or "file:PATH"; empty for a public client, whose code PKCE protects alone.'
    )
    public_url: str = Field(
        "",
        pattern=r"^(https?://[A-Za-z0-9.\-\[\]:]+)?$",
        description="How browsers reach the server, without a path; the provider sends them back to /console/signed-in there.",
    )
    asks: tuple[str, ...] = Field(("openid", "profile"), description="The scopes asked of the provider.")
    label: str = Field("your organisation", max_length=60, description='The button says "Sign in with ..." this.')
    session_s: float = Field(
        3_600.0,
        ge=60,
        le=43_200,
        description="How long a sign-in lasts, and with it the groups it brought; then the provider is asked again.",
    )
