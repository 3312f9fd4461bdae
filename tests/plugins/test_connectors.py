import json
import os
from pathlib import Path

import pytest

from bascule.core.connectors import SkippedItem, SourceItem
from bascule.core.errors import StorageError
from bascule.plugins.connectors.folder import FolderConnector
from bascule.plugins.connectors.upload import Upload, UploadConnector, safe_name
from bascule.testing.connector_contract import check_connector, collect

NAMES = Path(__file__).parents[3] / "shared" / "data" / "security" / "upload_names.jsonl"


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "docs"
    (root / "b" / "deep").mkdir(parents=True)
    (root / "a.md").write_text("# A")
    (root / "b" / "c.txt").write_text("c")
    (root / "b" / "deep" / "d.html").write_text("<p>d")
    return root


async def taken(*paths, **options):
    items = await collect(FolderConnector(paths, **options))
    good = {item.external_id: item.data for item in items if isinstance(item, SourceItem)}
    return good, {item.external_id: item.reason for item in items if isinstance(item, SkippedItem)}


async def test_the_folder_keeps_the_contract(tree):
    (tree / ".hidden").write_text("x")
    await check_connector(lambda: FolderConnector([tree]), expected=["a.md", "b/c.txt", "b/deep/d.html"])


async def test_the_upload_keeps_the_contract():
    uploads = [Upload(name="a.md", data=b"# A"), Upload(name="b.txt", data=b"b", external_id="7")]
    await check_connector(lambda: UploadConnector(uploads), expected=["a.md", "7"])


async def test_files_come_in_order_with_name_type_and_time(tree):
    items = await collect(FolderConnector([tree]))
    assert [item.external_id for item in items] == ["a.md", "b/c.txt", "b/deep/d.html"]
    assert (items[2].name, items[2].media_type, items[2].data) == ("d.html", "text/html", b"<p>d")
    assert items[0].metadata["modified_at"].endswith("+00:00")


async def test_one_file_may_be_named_itself(tree):
    assert await taken(tree / "b" / "c.txt") == ({"c.txt": b"c"}, {})


async def test_hidden_and_tool_made_things_are_skipped_with_a_reason(tree):
    (tree / ".git").mkdir()
    (tree / ".git" / "config").write_text("SECRET")
    (tree / "node_modules").mkdir()
    (tree / ".env").write_text("SECRET")
    good, skipped = await taken(tree)
    assert set(skipped) == {".git", ".env", "node_modules"} and not any(b"SECRET" in data for data in good.values())


async def test_links_out_of_the_folder_are_not_followed(tree, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    (tree / "out.txt").symlink_to(secret)
    (tree / "up").symlink_to(tmp_path)
    (tree / "loop").symlink_to(tree)
    (tree / "gone.txt").symlink_to(tmp_path / "nothing")
    (tree / "inside.txt").symlink_to(tree / "b" / "c.txt")
    good, skipped = await taken(tree)
    assert set(skipped) == {"out.txt", "up", "loop", "gone.txt"} and "outside" in skipped["out.txt"]
    assert good["inside.txt"] == b"c" and not any(b"SECRET" in data for data in good.values())


async def test_what_is_too_large_or_no_file_is_skipped_and_never_waited_for(tree):
    (tree / "big.txt").write_bytes(b"x" * 101)
    (tree / "fits.txt").write_bytes(b"x" * 100)
    os.mkfifo(tree / "pipe.txt")
    good, skipped = await taken(tree, max_file_bytes=100)
    assert "fits.txt" in good and set(skipped) == {"big.txt", "pipe.txt"}
    assert "100 bytes" in skipped["big.txt"] and "regular" in skipped["pipe.txt"]


async def test_a_file_that_cannot_be_read_does_not_stop_the_rest(tree):
    if os.geteuid() == 0:
        pytest.skip("root reads everything: the case cannot be made")
    (tree / "a.md").chmod(0)
    good, skipped = await taken(tree)
    assert set(skipped) == {"a.md"} and len(good) == 2


async def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(StorageError, match="nothing at"):
        await taken(tmp_path / "missing")


async def test_two_folders_with_one_path_do_not_overwrite_each_other(tree, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.md").write_text("# other")
    items = await collect(FolderConnector([tree, other]))
    assert [i.data for i in items if isinstance(i, SourceItem) and i.external_id == "a.md"] == [b"# A"]
    assert [i.external_id for i in items if isinstance(i, SkippedItem)] == ["a.md"]


async def test_names_that_are_no_utf8_become_printable(tree):
    Path(os.fsdecode(os.fsencode(tree) + b"/bad\xff.txt")).write_text("x")
    good, _ = await taken(tree)
    assert "bad\\xff.txt" in good


async def test_an_upload_too_large_is_skipped_with_a_reason():
    (item,) = await collect(UploadConnector([Upload(name="a", data=b"12345")], max_file_bytes=4))
    assert isinstance(item, SkippedItem) and "4 bytes" in item.reason


async def test_a_changed_name_is_kept_escaped_in_the_metadata():
    (item,) = await collect(UploadConnector([Upload(name="../x\n\u202e.pdf", data=b"1", metadata={"k": "v"})]))
    assert item.name == item.external_id == "x.pdf"
    assert item.metadata == {"k": "v", "original_name": "../x\\n\\u202e.pdf"}


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("Größe & Maß (2).pdf", "Größe & Maß (2).pdf"),
        ("日本語.txt", "日本語.txt"),
        ("../../etc/passwd", "passwd"),
        ("..%5c..%5cwin.ini", "win.ini"),
        ("%252e%252e%252fpasswd", "passwd"),
        ("C:\\boot.ini", "boot.ini"),
        ("x\r\nSet-Cookie: a=b.pdf", "xSet-Cookie_ a=b.pdf"),
        ('a";filename="b.html', "a__filename=_b.html"),
        ("<script>.html", "_script_.html"),
        ("NUL.txt", "_NUL.txt"),
        ("-rf", "rf"),
        (".htaccess", "htaccess"),
        ("a.pdf\0.html", ".html".lstrip(".")),
        ("", "document"),
        ("...", "document"),
        ("\u202efdp.exe", "fdp.exe"),
    ],
)
def test_names_are_made_harmless(name, safe):
    assert safe_name(name) == safe


def test_long_names_keep_their_ending():
    assert safe_name("x" * 500 + ".pdf") == "x" * 146 + ".pdf"


def test_published_hostile_names_are_made_harmless():
    if not NAMES.is_file():
        pytest.skip("shared/data/security is not here: the published names are not tried")
    for row in map(json.loads, NAMES.read_text(encoding="utf-8").splitlines()):
        safe = safe_name(row["name"])
        assert safe and safe == safe_name(safe) and len(safe) <= 150
        assert not set(safe) & set('/\\\0\r\n"<>;:{}%$`') and not safe.startswith((".", "-")), row["name"]
