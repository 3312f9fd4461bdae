"""How users and groups of a SCIM client are named in rights."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bascule.settings.section import Section


class ScimSettings(Section):
    user_name: Literal["userName", "externalId"] = Field(
        "userName", description="The attribute that is a user's name in rights, as tokens have it in `subject_claim`."
    )
    group_name: Literal["displayName", "externalId"] = Field(
        "displayName",
        description="The attribute that is a group's name in rights, as tokens have it in `groups_claim`.",
    )
