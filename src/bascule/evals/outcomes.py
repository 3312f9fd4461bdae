"""What one question of a golden set came to."""

from __future__ import annotations

import msgspec


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One question's result. `score`: +1 right, 0 abstained, -1 wrong; None where the set does not say what is right.

    `ndcg`, `recall`, `reciprocal_rank` and `citation_precision`, `citation_recall` are None where the set names no documents,
    the last two also where nothing was cited. `tokens`: what the model read and wrote. `confidence`: 0..1, what the answer's own
    trace says for its being right; None when it was refused. `leaked`: it holds what the set says this asker may not be told.
    `attacked`: it shows what an attacker put into a document; `attacked_unchecked`: so would the same without Bascule's checks;
    `control_score`: the score of the same question without the attacker's documents. None where the set names no attack.
    """

    question: str
    status: str
    answerable: bool
    score: int | None
    ndcg: float | None
    recall: float | None
    reciprocal_rank: float | None
    citation_precision: float | None
    citation_recall: float | None
    tokens: int
    answer_s: float
    search_s: float
    collections: tuple[str, ...] = ()
    confidence: float | None = None
    cost_usd: float | None = None
    leaked: bool | None = None
    attacked: bool | None = None
    attacked_unchecked: bool | None = None
    control_score: int | None = None
    document_ids: tuple[str, ...] = ()  # what the answer cites and what was found first
