"""Personal data: recall, precision and speed for each kind, on published samples and on numbers made from their own rules.

    make peer-pii                              # once, for the rows of Presidio and of spaCy's names
    .venv/bin/bascule models pull rampart      # once, for the row of the tagging model's names
    make bench-pii

Published: 500 texts of presidio-research (MIT) with gold spans. National numbers and keys are made here, valid and with
one digit wrong, in sentences that name them or not; the wrong ones are what precision counts.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import string
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from bascule.core.recognise import KINDS, find
from bascule.core.recognisers import RECOGNISERS
from bascule.rag.names_tagged import Tagger

SAMPLES = Path(__file__).parents[2] / "shared" / "data" / "pii" / "presidio_synth_sample.jsonl"
NAMES = {
    "CREDIT_CARD": "card", "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "US_SSN": "ssn", "IP_ADDRESS": "ip",
    "IBAN_CODE": "iban",
}  # fmt: skip
WITH_NAMES = NAMES | {"PERSON": "name", "GPE": "place", "STREET_ADDRESS": "place"}
PEER = Path(__file__).parents[1] / ".venv-peer-pii" / "bin" / "python"
KEY_SHAPES = (
    ("sk-proj-", string.ascii_letters + string.digits, 40), ("AKIA", string.ascii_uppercase + string.digits, 16),
    ("ghp_", string.ascii_letters + string.digits, 36), ("hf_", string.ascii_letters, 34), ("AIza", string.ascii_letters, 35),
    ("glpat-", string.ascii_letters + string.digits, 20), ("xoxb-", string.digits, 24),
)  # fmt: skip


def published() -> tuple[dict[str, Counter[str]], int]:
    """Right, missed and wrong findings by kind; and the bytes read."""
    counts: dict[str, Counter[str]] = {}
    size = 0
    for row in map(json.loads, SAMPLES.read_text(encoding="utf-8").splitlines()):
        text = row["full_text"]
        size += len(text.encode())
        gold = [s for s in row["spans"] if s["entity_type"] in NAMES]
        found = find(text)
        for span in gold:
            hit = any(f.start < span["end_position"] and span["start_position"] < f.end for f in found)
            counts.setdefault(NAMES[span["entity_type"]], Counter())["right" if hit else "missed"] += 1
        for finding in found:
            if not any(finding.start < s["end_position"] and s["start_position"] < finding.end for s in gold):
                counts.setdefault(finding.kind, Counter())["wrong"] += 1
    return counts, size


def beside() -> Iterator[dict[str, Any]]:
    """Presidio as shipped, and what the extra `names` finds with spaCy's small English model: the same texts, counted the same."""
    texts = [json.loads(line) for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
    given = "".join(json.dumps(row["full_text"]) + "\n" for row in texts)
    script = [str(PEER), str(Path(__file__).with_name("pii_peer.py"))]
    done = subprocess.run(script, input=given, capture_output=True, text=True, check=True)
    *found, last = map(json.loads, done.stdout.splitlines())
    size = sum(len(row["full_text"].encode()) for row in texts)
    for who in ("presidio", "spacy"):
        counts: dict[str, Counter[str]] = {}
        for row, findings in zip(texts, found, strict=True):
            _count(row["spans"], findings[who], counts)
        structured = sum((count for kind, count in counts.items() if kind not in ("name", "place")), Counter[str]())
        for kind, count in sorted(counts.items()):
            if who == "presidio" or kind in ("name", "place"):
                yield {"who": who, "kind": kind, **_figures(count)}
        if who == "presidio":
            yield {"who": who, "kind": "all but names and places", **_figures(structured)}
        yield {"who": who, "kb_per_cpu_s": round(size / 1000 / last["cpu_s"][who])}


def tagged(models: Path) -> Iterator[dict[str, Any]]:
    """Names and places by the model that `bascule models pull rampart` brings. `whole`: nine tenths of its letters or more."""
    look = Tagger(models / "rampart")
    texts = [json.loads(line) for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
    began, counts, whole = time.process_time(), dict[str, Counter[str]](), Counter[str]()
    found = [look(row["full_text"]) for row in texts]
    cpu_s = time.process_time() - began
    for row, findings in zip(texts, found, strict=True):
        spans = [s for s in row["spans"] if WITH_NAMES.get(s["entity_type"]) in ("name", "place")]
        _count(spans, [[f.kind, f.start, f.end] for f in findings], counts)
        for span in spans:
            start, end = span["start_position"], span["end_position"]
            covered = sum(max(0, min(f.end, end) - max(f.start, start)) for f in findings)
            whole[WITH_NAMES[span["entity_type"]]] += covered >= 0.9 * (end - start)
    for kind, count in sorted(counts.items()):
        figures = _figures(count)
        yield {"who": "rampart", "kind": kind, **figures, "whole": round(whole[kind] / figures["texts"], 3)}
    size = sum(len(row["full_text"].encode()) for row in texts)
    yield {"who": "rampart", "kb_per_cpu_s": round(size / 1000 / cpu_s, 1)}


def _count(spans: list[dict[str, Any]], findings: list[list[Any]], counts: dict[str, Counter[str]]) -> None:
    gold = [(WITH_NAMES[s["entity_type"]], s) for s in spans if s["entity_type"] in WITH_NAMES]
    for kind, span in gold:
        hit = any(start < span["end_position"] and span["start_position"] < end for _, start, end in findings)
        counts.setdefault(kind, Counter())["right" if hit else "missed"] += 1
    for kind, start, end in findings:
        if not any(start < s["end_position"] and s["start_position"] < end for _, s in gold):
            counts.setdefault(kind, Counter())["wrong"] += 1


def made(seed: int = 3) -> Iterator[tuple[str, str, str, bool]]:
    """(kind, text, the number, whether it is one) of national numbers and keys."""
    from bascule.core.national_ids import NUMBERS

    chance = random.Random(seed)
    for number in NUMBERS:
        valid = [n for n in _tries(chance) if number.pattern.fullmatch(n) and number.check(n)][:8]
        word = "national id " if number.words is not None else ""
        for text in valid:
            yield "national_id", f"We were given {word}{text}, which is on file.", text, True
    for prefix, letters, length in KEY_SHAPES:
        for _ in range(20):
            key = prefix + "".join(chance.choice(letters) for _ in range(length))
            yield "key", f"The service is called with {key} since May.", key, True
    for _ in range(400):
        digits = "".join(chance.choice(string.digits) for _ in range(chance.choice((8, 9, 10, 11, 12))))
        yield "national_id", f"Order {digits} left the house.", digits, False


def _tries(chance: random.Random) -> Iterator[str]:
    """Digits alone, of every length; numbers with letters or marks are covered by the tests."""
    for length in (8, 9, 10, 11, 12, 13):
        for _ in range(4000):
            yield "".join(chance.choice(string.digits) for _ in range(length))


def rows() -> Iterator[dict[str, Any]]:
    counts, _ = published() if SAMPLES.is_file() else ({}, 0)
    for kind, text, number, real in made():
        hit = any(f.kind == kind and text[f.start : f.end] == number for f in find(text))
        bucket = counts.setdefault(f"{kind} (made)", Counter())
        bucket["right" if real and hit else "missed" if real else "wrong" if hit else "kept"] += 1
    total: Counter[str] = Counter()
    for kind, count in sorted(counts.items()):
        total += count
        yield {"kind": kind, **_figures(count)}
    yield {"kind": "all", **_figures(total)}


def _figures(count: Counter[str]) -> dict[str, Any]:
    right, missed, wrong = count["right"], count["missed"], count["wrong"]
    return {
        "texts": right + missed,
        "recall": round(right / (right + missed), 3) if right + missed else None,
        "precision": round(right / (right + wrong), 3) if right + wrong else None,
    }


def speeds(kb: int = 400) -> Iterator[dict[str, Any]]:
    """CPU time over running text: every recogniser alone, then all."""
    texts = [json.loads(line)["full_text"] for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
    paragraphs = [" ".join(texts[at : at + 10]) for at in range(0, len(texts), 10)]
    paragraphs = (paragraphs * (kb * 1000 // sum(map(len, paragraphs)) + 1))[: kb * 1000 // 600]
    size = sum(len(p.encode()) for p in paragraphs)
    for name, kinds in [*((k, (k,)) for k in RECOGNISERS), ("all", KINDS)]:
        began = time.process_time()
        for paragraph in paragraphs:
            find(paragraph, kinds=kinds)
        yield {"recogniser": name, "kb_per_cpu_s": round(size / 1000 / (time.process_time() - began))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path(os.environ.get("BASCULE_MODELS_DIR", ".models")))
    parser.add_argument("--json")
    given = parser.parse_args()
    found = []
    parts = [rows()]
    if SAMPLES.is_file():
        parts += [beside()] if PEER.is_file() else []
        parts += [tagged(given.models)] if (given.models / "rampart").is_dir() else []
        parts.append(speeds())
    for row in chain.from_iterable(parts):
        found.append(row)
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
