"""Row-level security binds the tables' owner too: it sees what a transaction says is our own work, and without that word nothing.

One policy with a CASE, where two would be joined by OR: what the reader's rule asks is then never asked for the owner's rows.
"""

from __future__ import annotations

from alembic import op

from bascule.db.migrations.catalogue.versions.wall import _POLICIES

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, rule in _POLICIES.items():
        op.execute(f"DROP POLICY wall ON {table}")
        op.execute(
            f"CREATE POLICY wall ON {table} USING (CASE WHEN current_user = 'bascule_reader' THEN {rule} "
            "ELSE current_setting('bascule.work', true) = 'on' END)"
        )
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
