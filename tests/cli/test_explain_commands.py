"""explain --expect and --truth, replay and diff, on a real folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bascule.cli import failures

QUESTION = "How long is the warranty on steel frames?"


def key_of(cli: Any, data: Path, name: str, *more: str) -> str:
    return str(cli.json("keys", "create", "--name", name, "--user", name, *more, "--data", data)["key"])


def test_an_expected_text_is_followed_and_the_prompt_counted(cli, shop: Path) -> None:
    answer = cli.json("ask", QUESTION, "-c", "handbook", "--data", shop)
    found = cli.json("explain", answer["id"], "--expect", "returns.md", "--data", shop)
    assert found["expected"]["documents"][0]["state"] == "indexed"
    assert found["expected"]["diagnosis"] in ("in context but ignored", "ranked but truncated", "not retrieved")
    code, out, _ = cli("explain", answer["id"], "--expect", "no such document", "--data", shop)
    assert code == 0 and "expected: not indexed" in out and "prompt  about " in out


def test_a_hidden_document_is_told_to_an_auditor_alone_and_the_look_is_logged(cli, shop: Path) -> None:
    ivy = key_of(cli, shop, "ivy-asks")
    secret = "What does a senior mechanic earn?"
    answer = cli.json("ask", secret, "--key", ivy, "--data", shop)
    found = cli.json("explain", answer["id"], "--expect", "Salary bands", "--key", ivy, "--data", shop)
    assert found["expected"]["diagnosis"] == "not indexed" and found["expected"]["documents"] == []
    assert "48,500" not in json.dumps(found)
    assert cli("explain", answer["id"], "--truth", "--key", ivy, "--data", shop)[0] == failures.REFUSED
    told = cli.json("explain", answer["id"], "--truth", "--expect", "Salary bands", "--data", shop)["truth"]
    assert told["expected"]["diagnosis"] == "hidden by permission" and told["hidden"]
    code, out, _ = cli("explain", answer["id"], "--truth", "--data", shop)
    assert code == 0 and "hidden passages" in out


def test_a_replay_is_compared_with_its_answer(cli, shop: Path) -> None:
    answer = cli.json("ask", QUESTION, "-c", "handbook", "--data", shop)
    again = cli.json("replay", answer["id"], "--data", shop)
    assert again["answer"]["id"] != answer["id"] and again["diff"]["same"]
    code, out, _ = cli("diff", answer["id"], again["answer"]["id"], "--data", shop)
    assert (code, out.strip()) == (0, "Nothing is different.")
    other = cli.json("ask", "How many days do customers have to return a bicycle?", "--data", shop)
    code, out, _ = cli("diff", answer["id"], other["id"], "--data", shop)
    assert code == 0 and "answer: " in out and "rerank, hits: came" in out
    assert cli("replay", "x", "--data", shop)[0] == failures.REFUSED
