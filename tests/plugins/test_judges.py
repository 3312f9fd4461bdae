"""A judge in a folder: a graph that reads a passage and a sentence together, and says how surely the one follows from the other."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bascule.bootstrap.plugins import connect_plugin
from bascule.core.errors import ConfigError, UpstreamInvalid, UpstreamTimeout
from bascule.core.http import HttpClient
from bascule.core.judging import Judge
from bascule.core.resources import Resources
from bascule.plugins.http_clients import httptools
from bascule.settings import StoreSettings
from bascule.testing.gateway import call
from bascule.testing.tiny_judge import tiny_judge


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with httptools.connect(httptools.Settings(pool_size=1)) as client:
        yield client


@pytest.fixture
async def resources(http: HttpClient, tmp_path: Path) -> Resources:
    return Resources(http=http, data=tmp_path, models=tmp_path, secret=lambda reference: "")


async def _connected(stack: AsyncExitStack, resources: Resources, **given: Any) -> Judge:
    settings = StoreSettings.model_validate({"kind": "onnx", **given})
    found: Judge = await connect_plugin(stack, "judges", "rag.entailment", settings, resources)
    return found


async def test_the_probability_is_that_of_the_output_called_entailment(tmp_path: Path, resources: Resources) -> None:
    folder = tiny_judge(tmp_path, {"five": 2.0, "nine": -3.0})
    sha256 = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    async with AsyncExitStack() as stack:
        judge = await _connected(stack, resources, folder=str(folder), sha256=sha256, least=0.7)
        assert judge.least == 0.7
        five = await judge.entails("nine nine", "It takes five days.", call())
        nine = await judge.entails("five", "It takes nine days.", call())
        assert five == pytest.approx(math.exp(2) / (math.exp(2) + 2), abs=1e-5), (
            "the passage's words count nothing here"
        )
        assert nine == pytest.approx(math.exp(-3) / (math.exp(-3) + 2), abs=1e-5)
        with pytest.raises(UpstreamTimeout):
            await judge.entails("five", "five", call(timeout_s=-1.0))


async def test_a_long_passage_is_cut_never_the_sentence(tmp_path: Path, resources: Resources) -> None:
    folder = tiny_judge(tmp_path, {"five": 0.1})
    async with AsyncExitStack() as stack:
        judge = await _connected(stack, resources, folder=str(folder), max_tokens=32)
        found = await judge.entails("word " * 500, "five " * 20, call())
    assert found == pytest.approx(math.exp(2) / (math.exp(2) + 2), abs=1e-5)


async def test_which_output_is_entailment_can_be_said_and_must_be_there(tmp_path: Path, resources: Resources) -> None:
    folder = tiny_judge(tmp_path, {"five": 2.0})
    (folder / "config.json").unlink()
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError, match=r"rag\.entailment\.entailment"):
            await _connected(stack, resources, folder=str(folder))
        one = await _connected(stack, resources, folder=str(folder), entailment=1)
        assert await one.entails("", "five", call()) > 0.7
        other = await _connected(stack, resources, folder=str(folder), entailment=7)
        with pytest.raises(UpstreamInvalid):
            await other.entails("", "five", call())


async def test_numbers_that_are_none_are_no_verdict(tmp_path: Path, resources: Resources) -> None:
    folder = tiny_judge(tmp_path, {"five": math.nan})
    async with AsyncExitStack() as stack:
        judge = await _connected(stack, resources, folder=str(folder))
        with pytest.raises(UpstreamInvalid):
            await judge.entails("", "five", call())


@pytest.mark.parametrize("wrong", ["nothing", "sha256", "graph", "labels"])
async def test_a_folder_that_holds_no_judge_is_refused_at_the_start(
    wrong: str, tmp_path: Path, resources: Resources
) -> None:
    given: dict[str, Any] = {"folder": str(tmp_path)}
    if wrong != "nothing":
        tiny_judge(tmp_path, {})
    if wrong == "sha256":
        given["sha256"] = "0" * 64
    if wrong == "graph":
        (tmp_path / "model.onnx").write_bytes(b"no graph")
    if wrong == "labels":
        (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "LABEL_0"}}), encoding="utf-8")
    async with AsyncExitStack() as stack:
        with pytest.raises(ConfigError) as caught:
            await _connected(stack, resources, **given)
    said = {"nothing": "holds no", "sha256": "sha256", "graph": "cannot be loaded", "labels": "which output"}
    assert said[wrong] in str(caught.value)
