"""Tables of documents and questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, PositiveFloat, model_validator

from bascule.settings.section import Section
from bascule.settings.server import StoreSettings

LOCAL_MODEL: Final = "local"
RedactMode = Literal["mask", "pseudonymise", "drop", "keep", "off"]


class CollectionSettings(Section):
    redact: RedactMode | None = Field(None, description="As rag.redact, for this collection's documents.")
    min_quality: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Documents whose text reads less like text than this are given up; 0.3 leaves out noise.",
    )

    retention_days: float | None = Field(
        None, gt=0, description="Documents whose content has not changed for so long are deleted; empty keeps them."
    )
    max_deleted_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="When more of it than this is to be deleted for its age at once, nothing is without a word.",
    )


class RagSettings(Section):
    enabled: bool = Field(True, description="Off: a gateway only, with less memory and a faster start.")
    vector_store: StoreSettings = Field(StoreSettings(kind="sqlite"), description="Where chunks are searched.")
    embedding_model: str | None = Field(
        "minilm", description="A name under [models], or minilm for the built-in model; empty for lexical search only."
    )
    reembed_on_change: bool = Field(
        True,
        description="Collections embedded with another model than embedding_model are embedded anew, beside their old vectors.",
    )
    chat_model: str | None = Field(None, description="A name under [models]; without one, answers are extractive.")
    local_model: Path | None = Field(
        None,
        description="A GGUF file that answers on this machine, as the model `local`; chat_model is it, unless another is named.",
    )
    chunk_tokens: int = Field(200, ge=32, le=2000, description="Most tokens in a chunk.")
    candidates: int = Field(60, ge=5, le=1000, description="Candidates asked of each search method.")
    passages: int = Field(8, ge=1, le=50, description="Passages shown to the model.")
    prompt_tokens: int = Field(3000, ge=200, description="Most tokens of passages in a prompt.")
    expand: int = Field(
        0,
        ge=0,
        le=5,
        description="Passages before and after each one found, of the same section, shown too while prompt_tokens has room.",
    )
    reranker: StoreSettings | None = Field(
        None,
        description="What reorders the best passages by reading question and passage together: cohere, jina, voyage or onnx;"
        " without one, features of the words do.",
    )
    rerank_by_model: bool = Field(
        False, description="The helper model reorders the best passages instead of a reranker."
    )
    rerank_depth: int = Field(30, ge=2, le=200, description="How many of the best passages are reordered.")
    sentence_weight: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Share of the nearest sentence's cosine in the score of the best passages, with the built-in embedding model"
        " and without a reranker; 0: off.",
    )
    helper_model: str | None = Field(
        None,
        description="A name under [models] for the small questions between the steps; empty for chat_model.",
    )
    rewrite: Literal["words", "model"] = Field(
        "words",
        description="How a question within a conversation is searched: with the words of the question before, or as the helper"
        " model puts it.",
    )
    subquestions: int = Field(
        0, ge=0, le=5, description="Most questions that the helper model takes one apart into, each searched; 0: off."
    )
    hops: int = Field(
        0,
        ge=0,
        le=3,
        description="Rounds in which the helper model sees passages and says what else to search; 0: off.",
    )
    judge: Literal["words", "model"] = Field(
        "words",
        description="Who must find a sentence in its passage: the comparison of words, or the helper model too.",
    )
    entailment: StoreSettings | None = Field(
        None,
        description="A cross-encoder for natural language inference that must also find each sentence of a model's answer in its"
        ' passage: onnx, from a folder of yours; excludes judge = "model".',
    )
    repair: bool = Field(
        False, description="Ask the chat model once more for sentences that its passages did not support."
    )
    doubt_max: float = Field(
        0.82,
        ge=0,
        le=1,
        description="An extractive answer is refused above this probability that the passages use the words of the question and"
        " do not say what it asks; 1 never refuses for it.",
    )
    dense_weight: float = Field(0.3, ge=0, le=1, description="Share of the dense score in the fused score.")
    fusion: Literal["scores", "ranks", "distribution"] = Field(
        "scores",
        description="How the lists by words and by meaning become one: least and greatest score, ranks, or mean and deviation.",
    )
    exact: bool = Field(True, description="Phrases in quotes and codes come first, and what follows NOT is left out.")
    per_document: int = Field(
        0, ge=0, le=50, description="Passages of one document that come before those of others; 0: any number."
    )
    mmr: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How much likeness to better passages counts against a passage (maximal marginal relevance); 0: off.",
    )
    half_life_days: dict[str, PositiveFloat] = Field(
        {},
        description='By collection, or "*" for all others: the days after which age has cost a document a quarter of its score;'
        " it never costs more than half. Its own date counts, else when its content last changed. Without an entry: no cost.",
    )
    trust: dict[str, Annotated[float, Field(ge=0.1, le=1)]] = Field(
        {},
        description='By source, or "*" for all others: a factor on the score of its passages; without an entry 1.',
    )
    parser_memory_bytes: int = Field(1_000_000_000, gt=0, description="Address space of a parsing child process.")
    parser_cpu_s: int = Field(30, gt=0, description="CPU time of a parsing child process for one document.")
    parser_wall_s: float = Field(
        60.0,
        gt=0,
        description="How long a parsing process may do nothing over one document. One at work is ended by parser_cpu_s, or"
        " after 20 times this.",
    )
    ocr: bool = Field(
        True, description="Recognise text in images and scanned pages, where the extra `ocr` is installed."
    )
    ocr_memory_bytes: int = Field(
        2_500_000_000, gt=0, description="Address space of a parsing child process that recognises text."
    )
    ocr_cpu_s: int = Field(600, gt=0, description="CPU time for one document whose text is recognised.")
    ocr_wall_s: float = Field(900.0, gt=0, description="Wall time for one document whose text is recognised.")
    ocr_pages: int = Field(50, ge=1, le=10_000, description="Pages of one document that are recognised.")
    parser_processes: int = Field(1, ge=1, le=64, description="Parsing child processes.")
    redact: RedactMode = Field(
        "mask",
        description="Personal data before embedding: mask it, give it pseudonyms, drop the passages that hold it, or keep it."
        " Secrets are masked whatever this says, except with off, which is for test data.",
    )
    names_model: str = Field(
        "",
        description="rampart (bascule models pull rampart), a spaCy model's name, or the folder of either: names are treated as"
        " personal data too. Empty for none.",
    )
    names: tuple[Literal["name", "place"], ...] = Field(
        ("name",), description="What names_model looks for: names of people, of places."
    )
    collections: dict[str, CollectionSettings] = Field({}, description="What holds for single collections, by name.")

    @property
    def names_rule(self) -> str:
        """What a change of means that documents are to be prepared anew; "" where no names are looked for."""
        return f"{self.names_model}:{','.join(self.names)}" if self.names_model else ""

    @property
    def answers_by(self) -> str:
        """The model that answers; "" for extractive answers."""
        return self.chat_model or (LOCAL_MODEL if self.local_model is not None else "")

    @model_validator(mode="after")
    def _helped(self) -> RagSettings:
        if self.reranker is not None and self.rerank_by_model:
            raise ValueError("rag.reranker and rag.rerank_by_model exclude each other")
        if self.entailment is not None and self.judge == "model":
            raise ValueError('rag.entailment and rag.judge = "model" exclude each other')
        if not (self.helper_model or self.answers_by) and self.asks_helper:
            raise ValueError("rag.helper_model or rag.chat_model must name the model that the steps switched on ask")
        return self

    @property
    def asks_helper(self) -> bool:
        """Is any step switched on that a model is asked for?"""
        by_model = "model" in (self.rewrite, self.judge)
        return bool(by_model or self.rerank_by_model or self.subquestions or self.hops)
