"""Runs of golden sets, as they are kept: figures, and what each question scored. No answer's text is in them.

A question may say something of the documents its answer stood on: it is linked to them and scrubbed with them (law 4).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol

import msgspec

from bascule.core.principals import Principal

Figure = float | int | None
Figures = Mapping[Annotated[str, msgspec.Meta(max_length=100)], Figure]


class EvalCase(msgspec.Struct, frozen=True, kw_only=True):
    """One question of a run. `key` is the same for the same question in every run; `figures` are what it scored.

    document_ids  what its answer cited or its search found first; empty in what is read
    scrubbed      the question has gone with one of them, or the reader may not read one
    """

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    question: Annotated[str, msgspec.Meta(max_length=4_000)]
    status: Annotated[str, msgspec.Meta(max_length=100)] = ""
    figures: Figures = {}
    document_ids: Annotated[tuple[str, ...], msgspec.Meta(max_length=200)] = ()
    scrubbed: bool = False


class EvalRun(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`: golden or ranking. `notes`: what was asked of it (a sample, a seed, Bascule's version)."""

    id: str
    tenant: str
    subject: str
    key_id: str
    created_at: str
    kind: str
    name: str
    figures: Figures
    notes: Mapping[str, str] = {}
    cases: tuple[EvalCase, ...] = ()


class EvalRuns(Protocol):
    async def save_eval_run(self, principal: Principal, run: EvalRun) -> None:
        """As the principal's own. A case with a document that is not there to read any more is kept without its question."""
        ...

    async def eval_runs(self, principal: Principal, limit: int) -> list[EvalRun]:
        """Newest first, without their cases: the principal's own, or all of the tenant's for an admin."""
        ...

    async def eval_run(self, principal: Principal, run_id: str) -> EvalRun:
        """One of those, whole. Raises NotFound."""
        ...


def case_key(question: str, *more: str) -> str:
    """By which a question is found again in another run. Spacing and case do not matter."""
    flat = "\x1f".join(" ".join(part.split()).casefold() for part in (question, *more))
    return hashlib.blake2b(flat.encode("utf-8", "surrogatepass"), digest_size=12, person=b"bascule.eval").hexdigest()


def without_cases(run: EvalRun, cases: Sequence[EvalCase] = ()) -> EvalRun:
    return msgspec.structs.replace(run, cases=tuple(cases))
