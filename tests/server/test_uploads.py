"""Names of uploaded files, as anybody may write them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from bascule.server.uploads import plain_name

NAMES = Path(__file__).parents[2] / ".." / "shared" / "data" / "security" / "upload_names.jsonl"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("..%2f..%2fetc%2fpasswd", "passwd"),
        ("C:\\docs\\one.md", "one.md"),
        ("x\n.pdf", "x.pdf"),
        ("two\u202etxt.exe", "twotxt.exe"),
        ("résumé.docx", "résumé.docx"),
        ("..", "document"),
        ("", "document"),
        ("/", "document"),
        ("a" * 400 + ".pdf", "a" * 146 + ".pdf"),
    ],
)
def test_a_name_keeps_its_last_part_only(name, plain):
    assert plain_name(name) == plain


def test_no_name_of_the_collected_attacks_locates_anything():
    if not NAMES.is_file():
        pytest.skip(f"no collected names at {NAMES}")
    names = [json.loads(line)["name"] for line in NAMES.read_text(encoding="utf-8").splitlines()]
    assert len(names) > 10
    for name in names:
        plain = plain_name(name)
        assert 0 < len(plain) <= 150
        assert not set(plain) & set("/\\") and plain.strip(".")
        assert all(unicodedata.category(c)[0] != "C" for c in plain)
