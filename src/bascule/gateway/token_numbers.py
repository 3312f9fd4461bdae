"""Texts that come as token numbers, as some clients send what they embed (LangChain's OpenAIEmbeddings by default).

They are turned back into the text at the door: so they are cached, judged by policies and understood by every provider like any
other text.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from bascule.core.errors import InvalidRequest
from bascule.gateway.estimate import tokenizer

VOCABULARY: Final = (
    "cl100k_base"  # of all of OpenAI's embedding models, and what clients count by for a model unknown to them
)
SIZE: Final = 100_256


def text_of_tokens(numbers: list[Any]) -> str:
    """The text that these numbers of VOCABULARY spell.

    Raises InvalidRequest where they spell none, and without the extra `tokens`.
    """
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < SIZE for n in numbers):
        raise InvalidRequest(f"Token numbers are those of {VOCABULARY}.", param="input")
    known = _tokenizer()
    if known is None:
        raise InvalidRequest("Token numbers need the extra `tokens` of this server. Send texts.", param="input")
    try:
        return str(known.decode(numbers))
    except ValueError:
        raise InvalidRequest("These token numbers are not a whole text. Send texts.", param="input") from None


@cache
def _tokenizer() -> Any:
    return tokenizer(VOCABULARY)
