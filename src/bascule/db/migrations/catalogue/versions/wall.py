"""Row-level security on Postgres: the policies of the second wall (see `db/wall.py`). They bind whoever does not own the tables."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

_OWN = "tenant = current_setting('bascule.tenant', true)"
_MARKS = """ARRAY(SELECT jsonb_array_elements_text(NULLIF(current_setting('bascule.marks', true), '')::jsonb))"""
_READABLE = f"""{_OWN} AND (
  current_setting('bascule.admin', true) = 'on'
  OR (
    EXISTS (
      SELECT 1 FROM acl_entries e WHERE e.acl_id = documents.acl_id AND (
        (e.effect = 'allow' AND e.mark = ANY ({_MARKS}))
        OR (e.effect = 'owner' AND e.mark = NULLIF(current_setting('bascule.subject', true), ''))
      )
    )
    AND NOT EXISTS (
      SELECT 1 FROM acl_entries e WHERE e.acl_id = documents.acl_id AND e.effect = 'deny' AND e.mark = ANY ({_MARKS})
    )
  )
)"""
_POLICIES = {
    "acls": _OWN,
    "acl_entries": _OWN,
    "collections": _OWN,
    "documents": _READABLE,
    "chunks": f"{_OWN} AND EXISTS (SELECT 1 FROM documents d WHERE d.id = chunks.document_id)",
}


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, rule in _POLICIES.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY wall ON {table} FOR SELECT USING ({rule})")
