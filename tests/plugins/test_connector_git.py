"""Files of a git repository: told by their content's id, read from git's objects alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bascule.core.connectors import SkippedItem, UnchangedItem
from bascule.core.errors import ConfigError, StorageError
from bascule.plugins.connectors.git import GitConnector, Settings
from bascule.testing.connector_contract import check_connector
from bascule.testing.sources import Repository, counts, followed, known_from, listed, texts


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repo")
    made.commit_files({"a.md": "# A", "docs/b.md": "# B", "docs/größe.txt": "G", ".hidden": "x", "code.py": "pass"})
    return made


def connector(repository: Repository, **settings: object) -> GitConnector:
    return GitConnector(Settings(path=repository.path, **settings))


async def test_a_repository_keeps_the_contract(repository: Repository) -> None:
    os.symlink("a.md", repository.path / "link.md")
    repository.commit_files({})
    await check_connector(
        lambda: connector(repository, exclude=("*.py",)), expected=["a.md", "docs/b.md", "docs/größe.txt"]
    )


async def test_only_what_has_changed_is_read_again_and_what_has_gone_is_not_named(repository: Repository) -> None:
    first = await listed(connector(repository, include=("*.md",)))
    assert texts(first) == {"a.md": "# A", "docs/b.md": "# B"}
    repository.commit_files({"a.md": "# A2", "docs/b.md": None, "c.md": "# C"})
    second = await listed(connector(repository, include=("*.md",)), known_from(first))
    assert texts(second) == {"a.md": "# A2", "c.md": "# C"}
    assert [c.external_id for c in second if isinstance(c, UnchangedItem)] == []
    third = await listed(connector(repository, include=("*.md",)), known_from(second))
    assert {c.external_id for c in third if isinstance(c, UnchangedItem)} == {"a.md", "c.md"}


async def test_a_branch_a_tag_a_folder_and_a_bare_clone_are_read(repository: Repository, tmp_path: Path) -> None:
    repository.git("tag", "v1")
    repository.git("checkout", "--quiet", "-b", "next")
    repository.commit_files({"docs/b.md": "# next"})
    repository.git("clone", "--quiet", "--bare", str(repository.path), str(tmp_path / "bare.git"))
    bare = Settings(path=tmp_path / "bare.git", ref="v1", folder="docs", url="https://git.example.com/shop/{path}")
    changes = await listed(GitConnector(bare))
    assert texts(changes) == {"docs/b.md": "# B", "docs/größe.txt": "G"}
    assert (
        known_from(changes)["docs/größe.txt"].metadata["url"] == "https://git.example.com/shop/docs/gr%C3%B6%C3%9Fe.txt"
    )
    assert texts(await listed(connector(repository, ref="next", folder="/docs/")))["docs/b.md"] == "# next"


async def test_what_is_not_committed_is_not_read_and_nothing_of_the_repository_is_run(
    repository: Repository, tmp_path: Path
) -> None:
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    trap.chmod(0o755)
    repository.commit_files({".gitattributes": "*.md filter=evil diff=evil\n"})
    for key in ("filter.evil.smudge", "diff.evil.textconv", "core.fsmonitor", "core.sshCommand", "core.pager"):
        repository.git("config", key, str(trap))
    for hook in ("post-checkout", "pre-commit", "reference-transaction"):
        path = repository.path / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(trap.read_text())
        path.chmod(0o755)
    (repository.path / "a.md").write_text("# not committed")
    assert texts(await listed(connector(repository)))["a.md"] == "# A"
    assert not (tmp_path / "sprung").exists()


async def test_large_files_pointers_and_links_are_skipped_with_a_reason(repository: Repository) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    repository.commit_files({"big.txt": "x" * 101, "lfs.pdf": pointer, "empty.txt": ""})
    changes = await listed(connector(repository, max_file_bytes=150, exclude=("code.py",)))
    assert "big.txt" in texts(changes) and texts(changes)["empty.txt"] == ""
    changes = await listed(connector(repository, max_file_bytes=100))
    reasons = {c.external_id: c.reason for c in changes if isinstance(c, SkippedItem)}
    assert "max_file_bytes" in reasons["big.txt"]
    assert "Hidden" in reasons[".hidden"]
    changes = await listed(connector(repository))
    assert "LFS" in {c.external_id: c.reason for c in changes if isinstance(c, SkippedItem)}["lfs.pdf"]


async def test_what_cannot_be_read_is_an_error_of_the_source_that_says_what_to_check(
    repository: Repository, tmp_path: Path
) -> None:
    for settings, says in (
        ({"ref": "nosuch"}, "Check ref"),
        ({"folder": "nosuch"}, "no folder"),
    ):
        with pytest.raises(StorageError, match=says):
            await listed(connector(repository, **settings))
    (tmp_path / "plain").mkdir()
    with pytest.raises(StorageError, match="Check path"):
        await listed(GitConnector(Settings(path=tmp_path / "plain")))
    with pytest.raises(ConfigError):
        connector(repository, ref="--upload-pack=x")
    blob = repository.git("rev-parse", "HEAD:a.md")
    (repository.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(StorageError):
        await listed(connector(repository))


async def test_commits_are_followed_into_search_and_out_of_it(repository: Repository, tmp_path: Path) -> None:
    repository.commit_files(
        {name: "Steel frames are returned." for name in ("one.md", "two.md", "three.md", "four.md", "five.md")}
    )
    source = {"kind": "git", "path": str(repository.path), "include": ["*.md"]}
    async with followed(tmp_path / "data", **source) as shop:
        assert counts(await shop.sync()) == (7, 0, 0)
        assert await shop.found("steel frames") == ["five.md", "four.md", "one.md", "three.md", "two.md"]
        repository.commit_files({"one.md": None, "two.md": "Wooden wheels."})
        assert counts(await shop.sync()) == (1, 5, 1)
        assert await shop.found("steel frames") == ["five.md", "four.md", "three.md"]
        assert await shop.found("wooden wheels") == ["two.md"]
        os.rename(repository.path, tmp_path / "away")
        assert (await shop.sync()).stopped
        assert await shop.found("wooden wheels") == ["two.md"]
