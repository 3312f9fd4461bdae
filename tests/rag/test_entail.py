"""A second look at sentences by a cross-encoder: what it drops, what its trace says, and that an answer goes on without it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from bascule.core.calls import Call
from bascule.core.errors import UpstreamInvalid
from bascule.core.http import HttpClient
from bascule.core.judging import Judge
from bascule.core.principals import Principal
from bascule.core.resources import Resources
from bascule.plugins.judges import onnx
from bascule.rag.entail import SECOND_LOOKS
from bascule.rag.options import RagOptions
from bascule.testing.rag_fakes import RecitingModel, World
from bascule.testing.tiny_judge import tiny_judge

BOB = Principal(tenant="t", subject="bob")
PAGE = "Refunds take 5 working days. Parcels leave the warehouse on Monday."
QUESTION = "How long do refunds take?"


@asynccontextmanager
async def _judge(folder: Path, **weights: float) -> AsyncIterator[Judge]:
    settings = onnx.Settings(folder=tiny_judge(folder, weights))
    unused = Resources(http=cast(HttpClient, None), data=folder, models=folder, secret=str)
    async with onnx.connect(settings, unused) as judge:
        yield judge


async def _asked(judge: Judge, said: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    world = World(chat=RecitingModel(said), judge=judge, options=RagOptions(chat_model="fast", **options))
    await world.add("page", PAGE)
    answer = await world.questions.answer(BOB, QUESTION)
    view = await world.questions.explain(BOB, answer.id)
    return answer, next(s["facts"] for s in view["stages"] if s["name"] == "verify")


async def test_a_sentence_stands_when_words_and_judge_agree(tmp_path: Path) -> None:
    async with _judge(tmp_path, refunds=3.0, parcels=-3.0) as judge:
        answer, facts = await _asked(
            judge, "Refunds take 5 working days [1]. Parcels leave the warehouse on Monday [1]."
        )
    assert (answer.status, answer.reason) == ("partial", "unsupported")
    assert answer.answer.startswith("Refunds take 5 working days")
    assert [s.get("reason", "") for s in facts["sentences"]] == ["", "judge"]
    high, low = facts["entailed"]
    assert high > 0.9 and low < 0.1


async def test_an_answer_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    async with _judge(tmp_path, refunds=-3.0) as judge:
        answer, _ = await _asked(judge, "Refunds take 5 working days [1].")
    assert (answer.status, answer.reason, answer.answer) == ("refused", "unsupported", "")


async def test_it_is_not_asked_of_what_the_comparison_of_words_drops(tmp_path: Path) -> None:
    async with _judge(tmp_path, refunds=3.0) as judge:
        answer, facts = await _asked(judge, "Refunds take 9 working days [1].")
    assert answer.status == "refused" and "entailed" not in facts


class Broken:
    least = 0.5

    async def entails(self, passage: str, sentence: str, call: Call) -> float:
        raise UpstreamInvalid("no number", provider="onnx")


async def test_when_it_fails_words_alone_decide_and_the_answer_says_so() -> None:
    answer, facts = await _asked(Broken(), "Refunds take 5 working days [1].")
    assert (answer.status, answer.degraded) == ("answered", ("lexical_only", "judge_failed"))
    assert "entailed" not in facts


class Counting:
    least = 0.5
    asked = 0

    async def entails(self, passage: str, sentence: str, call: Call) -> float:
        self.asked += 1
        return 0.9


async def test_an_answer_without_end_is_looked_at_only_so_often() -> None:
    judge = Counting()
    answer, _ = await _asked(judge, "Refunds take 5 working days [1]. " * (SECOND_LOOKS + 3))
    assert judge.asked == SECOND_LOOKS
    assert (answer.status, answer.degraded) == ("answered", ("lexical_only", "judge_capped"))
