"""How many tokens a request has and its answer may have, before the vendor says so.

With the extra `tokens`, text is counted by OpenAI's own vocabularies; for other vendors' models by the newest of them, times
OTHER_VENDORS. Without it, four bytes are a token. Long texts are counted in pieces taken evenly from them: an estimate is
replaced by what the vendor reports, and nobody shall wait for it.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import logging
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from bascule.core.chat import ChatRequest
from bascule.gateway.routes import Route

log = logging.getLogger(__name__)

Count = Callable[[str], int]

BYTES_PER_TOKEN: Final = 4
GENEROUS_BYTES_PER_TOKEN: Final = 2  # of a body: no more tokens than this in any but the oddest text
OTHER_VENDORS: Final = 1.2  # Claude, Gemini, Llama and Mistral cut the same text into up to a fifth more tokens
SAMPLE_CHARS: Final = 32_768  # counted whole; about half a millisecond
SAMPLE_PIECES: Final = 8
OBJECT_TOKENS: Final = 3  # the frame of a message or part, as OpenAI's cookbook counts it
IMAGE_TOKENS: Final = 1000
ATTACHED_BYTES_PER_TOKEN: Final = 50  # of a file or sound in base64: a dense PDF; sound has fewer
MAX_STATED: Final = 10**9  # more is no number of tokens
MAX_CHOICES: Final = 10**6

_IMAGES: Final = frozenset({"image", "image_url", "input_image"})
_ATTACHED: Final = frozenset({"document", "file", "input_file", "audio", "input_audio"})
_LENGTHS: Final = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_CHOICES: Final = ("n", "best_of")
_OLDER: Final = re.compile(r"gpt-4(?![o.])|gpt-3\.?5|text-embedding-")
_OPENAI: Final = re.compile(r"gpt-|chatgpt-|o[1-9]\b|text-embedding-")


class Estimates:
    """For every model callers may name, how its tokens are counted: as those of its first target."""

    __slots__ = ("_output_tokens", "_vocabularies")

    def __init__(self, routes: Mapping[str, Route], default_output_tokens: int) -> None:
        self._output_tokens = {
            name: route.default_output_tokens or default_output_tokens for name, route in routes.items()
        }
        self._vocabularies = {name: vocabulary(route.targets[0].model) for name, route in routes.items()}

    def request_tokens(self, request: ChatRequest, far_below: float) -> int:
        """A prompt that is surely below `far_below` tokens is not counted: half its bytes are enough then."""
        generous = len(request.body) // GENEROUS_BYTES_PER_TOKEN + 1
        if generous <= far_below:
            return generous
        texts, more = _walk(request.view)
        return self.text_tokens(request.model, "\n".join(texts)) + more

    def text_tokens(self, model: str, text: str) -> int:
        name, factor = self._vocabularies[model]
        return math.ceil(_counted(text, _counter(name)) * factor)

    def output_tokens(self, model: str, view: Mapping[str, Any]) -> tuple[int, bool]:
        """The most tokens that all choices of the answer may have, and whether the request says so itself."""
        stated, choices = 0, 1
        for field in _LENGTHS:
            if field in view:
                stated = max(stated, _number(view[field], MAX_STATED))
        for field in _CHOICES:
            if field in view:
                choices = max(choices, _number(view[field], MAX_CHOICES))
        return (stated or self._output_tokens[model]) * choices, stated > 0 or choices > 1


def vocabulary(model: str) -> tuple[str, float]:
    """The vocabulary for a vendor's model name, and what its count is multiplied by."""
    plain = model.lower().rpartition("/")[2].removeprefix("openai.")
    if _OLDER.match(plain):
        return "cl100k_base", 1.0
    return "o200k_base", 1.0 if _OPENAI.match(plain) else OTHER_VENDORS


@cache
def _counter(name: str) -> Count | None:
    """Counts by a vocabulary; None where the extra `tokens` is not installed."""
    found = tokenizer(name)
    if found is None:
        log.info("tokens are estimated by length: the extra `tokens` is not installed")
        return None
    count: Count = found.count
    return count


def tokenizer(name: str) -> Any:
    """A vocabulary's tokenizer; None where the extra `tokens` is not installed. The first takes a tenth of a second."""
    # The package's own front reads its vocabularies a second time, in Python: half a second and 65 MB for nothing used here.
    package = importlib.util.find_spec("bpe_openai")
    places = package.submodule_search_locations if package is not None else None
    native = importlib.machinery.PathFinder.find_spec("bpe_openai._bindings", places) if places else None
    if native is None or native.loader is None:
        return None
    module = importlib.util.module_from_spec(native)
    native.loader.exec_module(module)
    return module.tokenizer_for_encoding(name)


def _counted(text: str, count: Count | None) -> float:
    if count is None:
        return len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN
    if len(text) <= SAMPLE_CHARS:
        return _count(text, count)
    step, size = len(text) // SAMPLE_PIECES, SAMPLE_CHARS // SAMPLE_PIECES
    sample = "".join(text[start : start + size] for start in range(0, step * SAMPLE_PIECES, step))
    return _count(sample, count) * len(text) / len(sample)


def _count(text: str, count: Count) -> int:
    try:
        return count(text)
    except UnicodeEncodeError:  # lone surrogates, which JSON may carry and no tokenizer takes
        return count(text.encode("utf-8", "replace").decode("utf-8"))


def _walk(view: object) -> tuple[list[str], int]:
    """Every text in a request, and the tokens of what is not text: frames, images, attached files."""
    texts: list[str] = []
    more = 0
    left: list[object] = [view]
    while left:
        item = left.pop()
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, list):
            left.extend(item)
        elif isinstance(item, dict):
            kind = item.get("type")
            if kind in _IMAGES:
                more += IMAGE_TOKENS
            elif kind in _ATTACHED:
                more += max(IMAGE_TOKENS, _attached_bytes(item) // ATTACHED_BYTES_PER_TOKEN)
            else:
                more += OBJECT_TOKENS
                left.extend(item.values())
    return texts, more


def _attached_bytes(part: dict[str, Any]) -> int:
    inner = [value for value in part.values() if isinstance(value, dict)]
    return sum(len(v) for holder in (part, *inner) for v in holder.values() if isinstance(v, str))


def _number(value: object, most: int) -> int:
    """A positive number of tokens or choices, at most `most`; 0 for anything that is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        return 0
    return most if value >= most else max(1, int(value))
