"""Row-level security: a group that a credential leaves out shuts out all the same (`Principal.shutting_marks`).

A server of the version before names no such marks: then what lets in shuts out, as it did.
"""

from __future__ import annotations

from alembic import op

from bascule.db.migrations.catalogue.versions.wall import _MARKS, _POLICIES

revision = "0015"
down_revision = "0014"

_SETTING = "current_setting('bascule.marks', true)"
_SHUTTING = _MARKS.replace(
    f"NULLIF({_SETTING}, '')",
    f"COALESCE(NULLIF(current_setting('bascule.shutting', true), ''), NULLIF({_SETTING}, ''))",
)
_DENY = "e.effect = 'deny' AND e.mark = ANY ({})"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    rule = _POLICIES["documents"].replace(_DENY.format(_MARKS), _DENY.format(_SHUTTING))
    op.execute("DROP POLICY wall ON documents")
    op.execute(
        f"CREATE POLICY wall ON documents USING (CASE WHEN current_user = 'bascule_reader' THEN {rule} "
        "ELSE current_setting('bascule.work', true) = 'on' END)"
    )
