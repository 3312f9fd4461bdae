"""The reference page names what is served."""

from __future__ import annotations

from pathlib import Path

from bascule.core import errors
from bascule.server.table import HOT, OPEN, ROUTES

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "http.md").read_text(encoding="utf-8")


def test_every_route_is_on_the_page_with_its_scope():
    for route in (*HOT, *OPEN, *ROUTES):
        rows = [
            line for line in PAGE.splitlines() if line.startswith("| `") and f"`{route.method} {route.path}`" in line
        ]
        assert rows, (route.method, route.path)
        scope = {None: "none", "": "any"}.get(route.scope, f"`{route.scope}`")
        assert rows[0].split("|")[2].strip().startswith(scope), (route.method, route.path)


def test_every_code_a_caller_can_meet_is_on_the_page():
    def leaves(kind: type) -> set[type]:
        return {kind} | {leaf for sub in kind.__subclasses__() for leaf in leaves(sub)}

    own = {kind.code for kind in leaves(errors.BasculeError) if kind.__module__ == errors.__name__}
    inside = {"invalid_configuration", "upstream_error", "ingest_failed"}  # never reach a caller under this code
    for code in own - inside:
        assert f"`{code}`" in PAGE, code
