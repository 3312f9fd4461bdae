"""Tables of who may come with a signed token instead of a key."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bascule.settings.section import Section

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"]


class IssuerSettings(Section):
    """One identity provider."""

    issuer: str = Field(pattern=r"^https?://", description="What its tokens name as `iss`, exactly.")
    audience: str = Field(min_length=1, description="What its tokens for this service name as `aud`.")
    jwks_url: str = Field("", description="Where it publishes its keys; empty to ask its discovery document.")
    algorithms: tuple[Algorithm, ...] = Field(
        ("RS256", "ES256"), min_length=1, description="Algorithms its tokens may be signed with."
    )
    tenant: str = Field("default", description="Whose users they are.")
    tenant_claim: str = Field("", description="A claim that says the tenant instead, by `tenants`.")
    tenants: dict[str, str] = Field({}, description="Tenant by value of `tenant_claim`; another value is refused.")
    subject_claim: str = Field("sub", description="The claim that names the user.")
    groups_claim: str = Field("groups", description="The claim that lists the user's groups; empty for none.")
    roles_claim: str = Field("", description="The claim that lists the user's roles; empty for none.")
    scopes: tuple[Literal["chat", "ask", "ingest", "admin", "audit", "metrics"], ...] = Field(
        ("chat", "ask"), description="What its users may do at most."
    )
    scope_claim: str = Field("", description="A claim whose words narrow `scopes`; without it all of them hold.")
    skew_s: float = Field(30.0, ge=0, le=300, description="How far its clock and ours may differ.")
    longest_s: float = Field(86_400.0, gt=0, description="A token that lasts longer than this is refused.")
