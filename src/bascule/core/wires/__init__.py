"""The wire formats callers may speak besides OPENAI_CHAT: each is translated in one module, found here by the wire's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bascule.core.chat import ANTHROPIC_MESSAGES, OPENAI_RESPONSES
from bascule.core.wires import anthropic, responses
from bascule.core.wires.translator import StreamTranslator, Translator

TRANSLATORS: Final[Mapping[str, Translator]] = {
    ANTHROPIC_MESSAGES: anthropic.TRANSLATOR,
    OPENAI_RESPONSES: responses.TRANSLATOR,
}

__all__ = ["TRANSLATORS", "StreamTranslator", "Translator"]
