"""Small questions to a model between the steps: stand-alone question, sub-questions, next search, order, support.

Each is one call under the asker's rights and limits, with a few words as its answer, a time of its own within the question's
deadline, and a line in the trace. All are off unless the operator switches them on, and a question goes on without the advice
that fails (law 11). What a model says here chooses words to search with and an order, never a filter, a collection or a right
(law 10): a document that talks a model into a search finds only what its reader may read anyway.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bascule.core.calls import Call
from bascule.core.chat import ChatModel
from bascule.core.documents import VisibleChunk
from bascule.core.errors import RequestError, UpstreamError, UpstreamInvalid
from bascule.rag import prompt
from bascule.rag.inquiry import STEP_SHARE, Inquiry
from bascule.rag.options import RagOptions

logger = logging.getLogger(__name__)
MOST_CHARS: Final = 500  # of a search that a model writes
_NONE: Final = re.compile(r"\W*none\W*", re.IGNORECASE)
_BULLET: Final = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.)])\s+")
_YES: Final = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)

Facts = dict[str, Any]


class Adviser:
    def __init__(self, chat: ChatModel, options: RagOptions) -> None:
        self._chat = chat
        self._options = options
        self._model = options.helper_model or options.chat_model

    async def standalone(self, ask: Inquiry, facts: Facts) -> str | None:
        """The question as it would be asked without the conversation before it; None without advice."""
        values = {"history": prompt.conversation(ask.history), "question": _line(ask.question)}
        said = await self._lines("rewrite", values, ask, facts, most=1)
        return said[0] if said else None

    async def parts(self, ask: Inquiry, facts: Facts, most: int) -> list[str]:
        """Up to `most` questions that it is made of; none when it asks one thing."""
        values = {"question": _line(ask.query), "most": str(most)}
        return await self._lines("split", values, ask, facts, most=most)

    async def further(self, ask: Inquiry, chunks: Sequence[VisibleChunk], facts: Facts, most: int) -> list[str]:
        """Up to `most` searches for what these passages leave open."""
        values = {"passages": self._quoted(chunks), "question": _line(ask.query), "most": str(most)}
        return await self._lines("hop", values, ask, facts, most=most, chunks=chunks)

    async def supports(self, ask: Inquiry, chunks: Sequence[VisibleChunk], sentence: str, facts: Facts) -> bool | None:
        """Do the passages say this sentence? None without advice."""
        values = {"passages": self._quoted(chunks), "sentence": _line(sentence)}
        said = await self._ask("judge", values, ask, facts, tokens=4, chunks=chunks)
        found = _YES.match(said or "")
        return None if found is None else found.group(1).lower() == "yes"

    async def order(self, question: str, chunks: Sequence[VisibleChunk], call: Call) -> list[int]:
        """Places in `chunks`, those that help alone, the best first. Raises UpstreamError, RequestError."""
        values = {"passages": self._quoted(chunks), "question": _line(question)}
        said = await self._say("rank", values, call, tokens=6 * len(chunks) + 10)
        if _NONE.fullmatch(said):
            return []
        numbers = [int(n) - 1 for n in re.findall(r"\d{1,4}", said)]
        found = [at for at in dict.fromkeys(numbers) if 0 <= at < len(chunks)]
        if not found:
            raise UpstreamInvalid("The model was asked for an order of passages and gave none.")
        return found

    def _quoted(self, chunks: Sequence[VisibleChunk]) -> str:
        return "\n".join(prompt.quoted(chunks, self._options.prompt_key))

    async def _lines(
        self,
        template: str,
        values: Mapping[str, str],
        ask: Inquiry,
        facts: Facts,
        *,
        most: int,
        chunks: Sequence[VisibleChunk] = (),
    ) -> list[str]:
        """Lines that are no longer than a search, without repeats and bullets; the question itself is no advice."""
        said = await self._ask(template, values, ask, facts, tokens=80 * most, chunks=chunks)
        if said is None or _NONE.fullmatch(said):
            return []
        lines = [_line(_BULLET.sub("", line)) for line in said.splitlines()]
        fit = [line for line in dict.fromkeys(lines) if line and len(line) <= MOST_CHARS and line != ask.query]
        return fit[:most]

    async def _ask(
        self,
        template: str,
        values: Mapping[str, str],
        ask: Inquiry,
        facts: Facts,
        *,
        tokens: int,
        chunks: Sequence[VisibleChunk],
    ) -> str | None:
        """None when the call failed: the step goes on as if it had not been asked. Raises UpstreamTimeout at the deadline."""
        documents = frozenset(chunk.document_id for chunk in chunks)
        call = ask.call(timeout_s=self._options.helper_timeout_s, share=STEP_SHARE, document_ids=documents)
        told = {"for": template, "model": self._model}
        try:
            return await self._say(template, values, call, tokens=tokens)
        except (UpstreamError, RequestError) as error:
            logger.warning("no advice for %r (%s); going on without", template, error.code)
            told["error"] = error.code
            return None
        finally:
            facts.setdefault("asked", []).append(told | spent(call))

    async def _say(self, template: str, values: Mapping[str, str], call: Call, *, tokens: int) -> str:
        request = prompt.fill(f"{template}.v1", values, model=self._model, most_tokens=tokens)
        response = await self._chat.chat(request, call)
        call.usage = response.usage
        return response.text.strip()


class ModelReranker:
    """The Reranker port by a chat model: what it puts first comes first, what it leaves out comes after, as it was."""

    def __init__(self, adviser: Adviser) -> None:
        self._adviser = adviser

    async def scores(self, question: str, chunks: Sequence[VisibleChunk], call: Call) -> list[float]:
        order = await self._adviser.order(question, chunks, call)
        places = {at: float(len(chunks) - place) for place, at in enumerate(order)}
        return [places.get(at, 0.0) for at in range(len(chunks))]


def spent(call: Call) -> Facts:
    """What a call cost, as facts of a trace."""
    usage = {"input_tokens": call.usage.input_tokens, "output_tokens": call.usage.output_tokens}
    cost = {} if call.cost_usd is None else {"cost_usd": call.cost_usd}
    return {"cache": call.cache, "usage": usage} | cost


def _line(text: str) -> str:
    return " ".join(text.split())
