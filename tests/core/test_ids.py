"""Identifiers: time-ordered, and for chunks derived from all that makes a chunk one."""

from __future__ import annotations

import uuid

from bascule.core.ids import chunk_id, content_hash, new_id


def test_new_ids_are_version_7_and_ordered_by_time() -> None:
    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert {uuid.UUID(i).version for i in ids} == {7}
    assert [i[:13] for i in ids] == sorted(i[:13] for i in ids)


def test_a_chunk_id_changes_with_each_of_its_four_parts_and_with_nothing_else() -> None:
    base = chunk_id("t", "d", "h", 0)
    assert base == chunk_id("t", "d", "h", 0)
    others = {
        chunk_id("u", "d", "h", 0),
        chunk_id("t", "e", "h", 0),
        chunk_id("t", "d", "i", 0),
        chunk_id("t", "d", "h", 1),
    }
    assert base not in others
    assert len(others) == 4


def test_shifting_characters_between_the_parts_gives_another_id() -> None:
    assert chunk_id("ab", "c", "h", 0) != chunk_id("a", "bc", "h", 0)


def test_a_content_hash_is_sha256() -> None:
    assert content_hash(b"abc").startswith("ba7816bf8f01cfea")
