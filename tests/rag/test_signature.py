"""Signatures estimate how much two documents resemble each other."""

from __future__ import annotations

import random

import pytest

from bascule.core.alike import BANDS, VALUES, alike, bands
from bascule.rag.signature import SHINGLE_WORDS, signature

WORDS = [f"w{number}" for number in range(4000)]


def text(seed: int, length: int) -> list[str]:
    return random.Random(seed).choices(WORDS, k=length)


def resemblance(one: list[str], other: list[str]) -> float:
    def shingles(words: list[str]) -> set[tuple[str, ...]]:
        return {tuple(words[at : at + SHINGLE_WORDS]) for at in range(len(words) - SHINGLE_WORDS + 1)}

    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


@pytest.mark.parametrize("length", [30, 300, 3000])
def test_the_share_of_equal_values_is_about_the_resemblance(length: int) -> None:
    off = []
    for seed in range(20):
        one = text(seed, length)
        other = one[: length - length * seed // 40] + text(seed + 99, length * seed // 40)
        first, second = signature(" ".join(one)), signature(" ".join(other))
        same = sum(first[at : at + 4] == second[at : at + 4] for at in range(0, 4 * VALUES, 4)) / VALUES
        off.append(abs(same - resemblance(one, other)))
    assert sum(off) / len(off) < 0.08 and max(off) < 0.25


def test_a_copy_with_one_word_changed_is_found_and_another_text_is_not() -> None:
    found = 0
    for seed in range(100):
        one = text(seed, 200)
        other = [*one[:100], "changed", *one[101:]]
        first, second = signature(" ".join(one)), signature(" ".join(other))
        found += bool(set(bands(first)) & set(bands(second))) and alike(first, second)
        assert not alike(first, signature(" ".join(text(seed + 1000, 200))))
    assert found >= 97


def test_case_and_white_space_do_not_matter_and_a_short_text_is_like_nothing() -> None:
    words = " ".join(text(1, 50))
    assert signature(words) == signature(words.upper().replace(" ", "\n\n"))
    assert signature("too short to tell") == b"" and bands(b"") == [] and not alike(b"", b"")
    assert len(bands(signature(words))) == BANDS
