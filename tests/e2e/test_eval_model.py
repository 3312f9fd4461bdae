"""A golden set asked of a chat model behind the gateway, over real HTTP: its answers are ordered by how sure they are."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from bascule.cli.remote import RemoteBackend
from bascule.evals import curve, golden
from bascule.evals.golden import Question
from bascule.testing.running import running, settings_for, until
from bascule.testing.upstream import Fault, fake_upstream

TEXTS = {
    "returns.txt": "Customers may return a bicycle within 30 days of delivery. A return needs the receipt of the purchase.",
    "warranty.txt": "The warranty on steel frames is 10 years. The warranty on tyres is 6 months.",
    "hours.txt": "The workshop opens at nine on Mondays and closes at five. It is closed on Sundays.",
}
SET = [
    Question(question="Within how many days may customers return a bicycle?", answer=("30 days",)),
    Question(question="How long is the warranty on steel frames?", answer=("10 years",)),
    Question(question="Who locks the workshop on holidays?", answer=("the caretaker",)),
    Question(question="What does a return need?", answer=("receipt",)),
]
SAID = [
    "Customers may return a bicycle within 30 days of delivery [1].",
    "The warranty on steel frames is 10 years [1]. The frames of carbon are made in Ulm by Brandt [1].",
    "The workshop opens at nine on Mondays [1]. Nobody but the owner comes on the last Friday of a month [1].",
    "NO_ANSWER",
]


async def test_a_models_answers_are_given_in_the_order_of_their_evidence_and_what_stood(tmp_path: Path) -> None:
    async with fake_upstream() as up:
        up.faults.extend(Fault(content=said) for said in SAID)
        settings = settings_for(
            tmp_path,
            providers={"main": {"kind": "openai", "base_url": up.url}},
            models={"fast": {"targets": [{"provider": "main", "model": "m"}]}},
            rag={"embedding_model": None, "chat_model": "fast"},
        )
        async with running(settings) as (url, _, admin), aiohttp.ClientSession(url) as http:
            form = aiohttp.FormData()
            form.add_field("collection", "shop")
            for name, text in TEXTS.items():
                form.add_field("file", text.encode(), filename=name, content_type="text/plain")
            key = {"authorization": f"Bearer {admin}"}
            async with http.post("/v1/documents", data=form, headers=key) as reply:
                job = await reply.json()
                assert reply.status == 202, job

            async def done() -> bool:
                async with http.get(f"/v1/jobs/{job['id']}", headers=key) as reply:
                    return (await reply.json())["state"] in ("done", "finished")

            await until(done, 20)
            outcomes = await golden.run(RemoteBackend(url, admin), SET, lambda done: None)
    assert len(up.calls) == len(SET)
    right, partly, wrong, declined = outcomes
    assert [o.status for o in outcomes] == ["answered", "partial", "partial", "refused"]
    assert [o.score for o in outcomes] == [1, 1, -1, 0]
    assert declined.confidence is None
    assert right.confidence and partly.confidence and wrong.confidence
    assert 1 >= right.confidence > partly.confidence > wrong.confidence > 0
    found = curve.points(outcomes)
    assert [(p.coverage, p.risk) for p in found] == [(0.25, 0), (0.5, 0), (0.75, pytest.approx(1 / 3))]
    assert golden.summary(outcomes)["risk_coverage_area"] == pytest.approx(1 / 9)
