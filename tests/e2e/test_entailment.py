"""A judge from the operator's folder, as the configuration names it, over real HTTP."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from pydantic import ValidationError

from bascule.settings.rag import RagSettings
from bascule.testing.running import running, settings_for, until
from bascule.testing.tiny_judge import tiny_judge
from bascule.testing.upstream import Fault, fake_upstream

SAID = "Refunds take 5 working days [1]. Parcels leave the warehouse on Monday [1]."


async def test_a_folder_in_the_configuration_judges_each_sentence(tmp_path: Path) -> None:
    folder = tiny_judge(tmp_path / "judge", {"refunds": 3.0, "parcels": -3.0})
    async with fake_upstream() as up:
        up.always = Fault(content=SAID)
        settings = settings_for(
            tmp_path / "data",
            providers={"main": {"kind": "openai", "base_url": up.url}},
            models={"fast": {"targets": [{"provider": "main", "model": "m"}]}},
            rag={
                "embedding_model": None,
                "chat_model": "fast",
                "entailment": {"kind": "onnx", "folder": str(folder)},
            },
        )
        async with running(settings) as (url, _, admin), aiohttp.ClientSession(url) as http:
            key = {"authorization": f"Bearer {admin}"}
            form = aiohttp.FormData()
            form.add_field("collection", "shop")
            form.add_field("file", SAID.replace(" [1]", "").encode(), filename="a.txt", content_type="text/plain")
            async with http.post("/v1/documents", data=form, headers=key) as reply:
                job = await reply.json()

            async def done() -> bool:
                async with http.get(f"/v1/jobs/{job['id']}", headers=key) as reply:
                    return (await reply.json())["state"] in ("done", "finished")

            await until(done, 20)
            async with http.post("/v1/answers", json={"question": "How long do refunds take?"}, headers=key) as reply:
                answer = await reply.json()
            async with http.get(f"/v1/answers/{answer['id']}/explain", headers=key) as reply:
                facts = {stage["name"]: stage["facts"] for stage in (await reply.json())["stages"]}["verify"]
    assert (answer["status"], answer["reason"]) == ("partial", "unsupported")
    assert "Refunds" in answer["answer"] and "Parcels" not in answer["answer"]
    assert [each.get("reason") for each in facts["sentences"]] == [None, "judge"]
    assert len(facts["entailed"]) == 2


def test_one_second_look_is_enough() -> None:
    with pytest.raises(ValidationError, match="exclude each other"):
        RagSettings(chat_model="m", judge="model", entailment={"kind": "onnx", "folder": "x"})  # type: ignore[arg-type]
