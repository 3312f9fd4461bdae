"""Tokens before the vendor counts them: OpenAI's own vocabularies for text, flat figures for the rest, never for long."""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec
import pytest

from bascule.core.chat import ChatRequest
from bascule.gateway import estimate
from bascule.gateway.estimate import IMAGE_TOKENS, Estimates, vocabulary
from bascule.gateway.routes import Route, Target
from bascule.testing.gateway import request

NEVER = 0.0  # no prompt is so far below a limit that it is not counted


def estimates(model: str = "gpt-4o") -> Estimates:
    return Estimates({"fast": Route(model="fast", targets=(Target(provider="p", model=model),))}, 1024)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("hello world", 2),
        ("tiktoken is great!", 6),
        ("antidisestablishmentarianism", 6),
        ("2 + 2 = 4", 7),
        ("お誕生日おめでとう", 8),
    ],
)
def test_text_is_counted_as_openai_counts_it(text: str, tokens: int) -> None:
    """The figures but the last two are those of OpenAI's cookbook, "How to count tokens with tiktoken", for o200k_base."""
    assert estimates().text_tokens("fast", text) == tokens


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o-mini", ("o200k_base", 1.0)),
        ("gpt-4.1", ("o200k_base", 1.0)),
        ("gpt-5.6-sol", ("o200k_base", 1.0)),
        ("o3", ("o200k_base", 1.0)),
        ("openai/gpt-oss-120b", ("o200k_base", 1.0)),
        ("openai.gpt-oss-120b-1:0", ("o200k_base", 1.0)),
        ("gpt-4-0613", ("cl100k_base", 1.0)),
        ("gpt-3.5-turbo", ("cl100k_base", 1.0)),
        ("gpt-35-turbo", ("cl100k_base", 1.0)),
        ("text-embedding-3-small", ("cl100k_base", 1.0)),
        ("claude-sonnet-4-5", ("o200k_base", 1.2)),
        ("olmo-2", ("o200k_base", 1.2)),
        ("meta-llama/Llama-3.3-70B", ("o200k_base", 1.2)),
    ],
)
def test_each_vendors_models_have_their_vocabulary(model: str, expected: tuple[str, float]) -> None:
    assert vocabulary(model) == expected


def test_the_whole_request_counts_its_system_text_and_tools_too() -> None:
    e = estimates()
    plain = e.request_tokens(request("word " * 100), NEVER)
    assert 100 <= plain <= 130
    tool = {"type": "function", "function": {"name": "f", "description": "word " * 200, "parameters": {}}}
    assert e.request_tokens(request("word " * 100, tools=[tool]), NEVER) >= plain + 200
    assert e.request_tokens(request("word " * 100, system="word " * 200), NEVER) >= plain + 200
    responses = {"model": "fast", "input": "word " * 100, "instructions": "word " * 200}
    asked = ChatRequest(wire="openai.responses", body=msgspec.json.encode(responses), view=responses, model="fast")
    assert e.request_tokens(asked, NEVER) >= 300


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2_000_000}},
        {"type": "image", "source": {"type": "base64", "data": "A" * 2_000_000}},
        {"type": "input_image", "image_url": "https://example.org/a.png"},
    ],
    ids=lambda part: part["type"],
)
def test_an_image_is_a_flat_figure_whatever_its_bytes(part: dict[str, Any]) -> None:
    view = {"model": "fast", "messages": [{"role": "user", "content": [part, {"type": "text", "text": "what is it?"}]}]}
    asked = ChatRequest(wire="w", body=msgspec.json.encode(view), view=view, model="fast")
    assert IMAGE_TOKENS < estimates().request_tokens(asked, NEVER) < IMAGE_TOKENS + 40


def test_an_attached_file_grows_with_its_size() -> None:
    def tokens(size: int) -> int:
        part = {"type": "document", "source": {"type": "base64", "data": "A" * size}}
        view = {"model": "fast", "messages": [{"role": "user", "content": [part]}]}
        asked = ChatRequest(wire="w", body=msgspec.json.encode(view), view=view, model="fast")
        return estimates().request_tokens(asked, NEVER)

    assert tokens(1000) < 1100 and 20_000 <= tokens(1_000_000) < 21_000


def test_a_prompt_far_below_every_limit_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_walk", lambda view: pytest.fail("it was counted"))
    asked = request("hello")
    assert estimates().request_tokens(asked, 1000.0) == len(asked.body) // 2 + 1


def test_a_long_text_is_counted_in_pieces_at_once_and_nearly_right() -> None:
    words = "".join(f"The {i}th quick brown fox, number {i * 7919 % 1000}, jumps over it. " for i in range(40_000))
    e, name = estimates(), vocabulary("gpt-4o")[0]
    e.text_tokens("fast", "load it first")
    counter = estimate._counter(name)
    assert counter is not None
    began_s = time.process_time()
    guess = e.text_tokens("fast", words)
    spent_s = time.process_time() - began_s
    assert guess == pytest.approx(counter(words), rel=0.05)
    assert spent_s < 0.02, "two megabytes of text must not stop the server"


def test_text_that_is_not_sound_is_counted_all_the_same() -> None:
    assert estimates().text_tokens("fast", "hello \ud800 world") > 2


def test_special_tokens_in_a_text_are_text() -> None:
    assert estimates().text_tokens("fast", "<|endoftext|>") > 3


def test_without_the_extra_four_bytes_are_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    estimate._counter.cache_clear()
    with monkeypatch.context() as without:
        without.setattr("importlib.util.find_spec", lambda name: None)
        assert estimates().text_tokens("fast", "x" * 400) == 100
    estimate._counter.cache_clear()
    assert estimates().text_tokens("fast", "hello world") == 2


def test_the_tokenizers_own_front_is_never_loaded() -> None:
    """It reads the vocabularies a second time, in Python: half a second and 65 MB."""
    estimates().text_tokens("fast", "hello")
    assert "bpe_openai" not in sys.modules


def test_an_answers_length_is_what_all_choices_may_have_together() -> None:
    e = estimates()
    assert e.output_tokens("fast", {}) == (1024, False)
    assert e.output_tokens("fast", {"max_tokens": 10}) == (10, True)
    assert e.output_tokens("fast", {"max_output_tokens": 20}) == (20, True)
    assert e.output_tokens("fast", {"max_completion_tokens": 5, "max_tokens": 10, "n": 3, "best_of": 4}) == (40, True)
    assert e.output_tokens("fast", {"n": 2}) == (2048, True)
    own = Route(model="long", targets=(Target(provider="p", model="m"),), default_output_tokens=9_000)
    assert Estimates({"long": own}, 1024).output_tokens("long", {}) == (9_000, False)
