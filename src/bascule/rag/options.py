"""Everything that can be chosen about how a question is answered, with the measured defaults."""

from __future__ import annotations

from typing import Literal

import msgspec

from bascule.rag.priors import Priors


class RagOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults are those of docs/decisions/fusion.md and refusal.md.

    chat_model           the name of the model that answers; "" for extractive answers
    candidates           asked of each search method in the first round; doubled in each refill
    refills              rounds after the first when fewer than the wanted number of hits are left after the check
    passages             most passages an answer is made from
    prompt_tokens        most tokens of passages in a prompt
    expand               passages before and after each one, of its section, added while the prompt has room; 0 adds none
    dense_weight         share of the dense score in the fused score
    fusion               `scores`: weighted min-max normalised scores; `distribution`: scores by their mean and deviation;
                         `ranks`: reciprocal rank fusion
    exact                phrases in quotes and codes come first, and what follows NOT is left out
    per_document         passages of one document that come before those of others; 0 sets no bound
    mmr                  weight of likeness to better passages against a passage's own score; 0 leaves the order alone
    rerank_weight        share of the feature score in the final score; 0 switches the reranker off
    rerank_depth         how many of the fused hits are reranked
    priors               age of documents and trust in sources, as factors on the final score
    sentence_passages    of the best passages, how many are compared with the question by their nearest sentence too; 0: none
    sentence_weight      share of that cosine in their final score
    sentence_timeout_s   how long embedding those may take; after it they do not count
    sentence_vectors     most sentences embedded to choose an extractive answer's; 0 compares words only
    extract_sentences    most sentences of an extractive answer
    doubt_max            an extractive answer is refused (`not_said`) above this doubt; 1 never refuses for it
    rerank_timeout_s     how long a Reranker may take; after it the order is that of the features
    helper_model         the name of the model that is asked between the steps; "" for chat_model
    helper_timeout_s     how long each such call may take, within the question's deadline
    rewrite              `words`, or `model`: in a conversation the helper model puts the question so that it stands alone
    subquestions         most questions that the helper model takes one apart into; 0 does not ask
    hops                 rounds in which the helper model, having seen passages, says what else to search for; 0 does not ask
    hop_searches         most searches of one such round
    judge                `words`, or `model`: the helper model must agree too that the passages cited say a sentence
    repair               once more for the sentences that were dropped
    prompt_key           secret bytes the delimiter of quoted passages is derived with (at most 64 bytes are used)
    prompt_version       which file of rag/prompts is used
    answer_tokens        most tokens the chat model may write
    """

    chat_model: str = ""
    candidates: int = 60
    refills: int = 3
    passages: int = 8
    prompt_tokens: int = 3000
    expand: int = 0
    dense_weight: float = 0.3
    fusion: Literal["scores", "ranks", "distribution"] = "scores"
    exact: bool = True
    per_document: int = 0
    mmr: float = 0.0
    rerank_weight: float = 0.6
    rerank_depth: int = 30
    rerank_timeout_s: float = 4.0
    helper_model: str = ""
    helper_timeout_s: float = 5.0
    rewrite: Literal["words", "model"] = "words"
    subquestions: int = 0
    hops: int = 0
    hop_searches: int = 2
    judge: Literal["words", "model"] = "words"
    repair: bool = False
    priors: Priors = Priors()
    sentence_passages: int = 5
    sentence_weight: float = 0.3
    sentence_timeout_s: float = 1.0
    sentence_vectors: int = 12
    extract_sentences: int = 3
    doubt_max: float = 0.82
    prompt_key: bytes = b""
    prompt_version: str = "answer.v1"
    answer_tokens: int = 700
    timeout_s: float = 15.0
    embed_timeout_s: float = 5.0
    max_question_chars: int = 4000
    max_limit: int = 100
