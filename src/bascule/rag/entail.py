"""A second look at each sentence of a model's answer: does it follow from what it cites, by something that reads both?"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final, Protocol

from bascule.core.documents import VisibleChunk
from bascule.core.errors import RequestError, UpstreamError
from bascule.core.judging import Judge
from bascule.rag.inquiry import STEP_SHARE, Inquiry
from bascule.rag.options import RagOptions

logger = logging.getLogger(__name__)
JUDGE_FAILED: Final = "judge_failed"
JUDGE_CAPPED: Final = "judge_capped"
SECOND_LOOKS: Final = 40  # sentences of one answer; a model that says no end of them is judged by words from there on


class SecondLook(Protocol):
    async def supports(
        self, ask: Inquiry, chunks: Sequence[VisibleChunk], sentence: str, facts: dict[str, Any]
    ) -> bool | None:
        """Do the passages say this sentence? None where it could not be found out."""
        ...


class Entailment:
    def __init__(self, judge: Judge, options: RagOptions) -> None:
        self._judge = judge
        self._options = options

    async def supports(
        self, ask: Inquiry, chunks: Sequence[VisibleChunk], sentence: str, facts: dict[str, Any]
    ) -> bool | None:
        """One passage that says it is enough. The probability goes into the trace."""
        documents = frozenset(chunk.document_id for chunk in chunks)
        call = ask.call(timeout_s=self._options.helper_timeout_s, share=STEP_SHARE, document_ids=documents)
        best = 0.0
        try:
            for chunk in chunks:
                best = max(best, await self._judge.entails(chunk.text, sentence, call))
                if best >= self._judge.least:
                    break
        except (UpstreamError, RequestError) as error:
            logger.warning("a sentence was compared by words alone: the judge failed (%s)", error.code)
            facts["lacks"] = [JUDGE_FAILED]
            return None
        facts.setdefault("entailed", []).append(round(best, 4))
        return best >= self._judge.least
