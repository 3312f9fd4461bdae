"""Texts that come as token numbers."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.core.errors import InvalidRequest
from bascule.gateway import token_numbers
from bascule.gateway.estimate import tokenizer
from bascule.gateway.token_numbers import VOCABULARY, text_of_tokens


@pytest.mark.parametrize("text", ["", "Hello world", "Hallo é漢🙂", "x = 1\n\n\tif", "<|endoftext|>"])
def test_token_numbers_are_turned_back_into_their_text(text: str) -> None:
    assert text_of_tokens(tokenizer(VOCABULARY).encode(text)) == text


@pytest.mark.parametrize("numbers", [[-1], [100_256], [2**40], [True], [1.0], ["1"], [None]])
def test_what_is_no_token_number_is_refused(numbers: list[Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        text_of_tokens(numbers)
    assert caught.value.param == "input"


def test_half_a_character_is_refused() -> None:
    whole = tokenizer(VOCABULARY).encode("漢")
    assert len(whole) > 1
    with pytest.raises(InvalidRequest):
        text_of_tokens(whole[:1])


def test_without_the_extra_the_caller_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_numbers, "_tokenizer", lambda: None)
    with pytest.raises(InvalidRequest, match="extra"):
        text_of_tokens([1])
