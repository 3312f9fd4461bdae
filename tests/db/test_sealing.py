"""Secrets of the data folder under a key: what is on the disk, what opens it, and what does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bascule.bootstrap import init, open_app
from bascule.bootstrap.sealing import open_seal
from bascule.core.errors import ConfigError
from bascule.db.sealing import MAGIC, Seal, SealKey, read_secret, reseal, secret_names
from bascule.ops.doctor import sealed
from bascule.testing.running import settings_for

KEY, OTHER = "k" * 40, "o" * 40


def key(text: str = KEY) -> SealKey:
    return SealKey.of(text, "env:K")


def folder(tmp_path: Path, seal: Seal | None = None) -> dict[str, bytes]:
    held = {"prompt.key": b"p" * 32, "pseudonym.key": b"q" * 32}
    for name, secret in held.items():
        (tmp_path / name).write_bytes((seal or Seal()).closed(name, secret))
    return held


def test_a_sealed_secret_opens_with_its_key_under_its_name_alone(tmp_path: Path) -> None:
    held = folder(tmp_path, Seal(key()))
    for name, secret in held.items():
        kept = (tmp_path / name).read_bytes()
        assert kept.startswith(MAGIC) and secret not in kept and KEY.encode() not in kept
        assert (
            read_secret(tmp_path, name, Seal(key())) == secret == read_secret(tmp_path, name, Seal(key(OTHER), [key()]))
        )
    first = (tmp_path / "prompt.key").read_bytes()
    assert Seal(key()).closed("prompt.key", b"p" * 32) != first, "never twice the same bytes"
    for wrong in (Seal(), Seal(key(OTHER)), Seal(None, [key(OTHER)])):
        with pytest.raises(ConfigError, match=r"secrets\.key"):
            read_secret(tmp_path, "prompt.key", wrong)
    (tmp_path / "pseudonym.key").write_bytes(first)
    with pytest.raises(ConfigError):
        read_secret(tmp_path, "pseudonym.key", Seal(key()))
    for at in range(len(first)):
        spoilt = bytearray(first)
        spoilt[at] ^= 1
        if at >= len(MAGIC):
            with pytest.raises(ConfigError):
                Seal(key()).opened("prompt.key", bytes(spoilt))


def test_rotating_closes_changes_the_key_and_opens_again_and_does_nothing_twice(tmp_path: Path) -> None:
    held = folder(tmp_path)
    for seal, was in (
        (Seal(key()), "clear"),
        (Seal(key(OTHER), [key()]), "old key"),
        (Seal(None, [key(OTHER)]), "sealed"),
    ):
        assert [how for _, how in reseal(tmp_path, seal)] == [was if was != "sealed" else "old key"] * 2
        before = {name: (tmp_path / name).read_bytes() for name in held}
        assert [how for _, how in reseal(tmp_path, seal)] == ["sealed" if seal.closes else "clear"] * 2
        assert {name: (tmp_path / name).read_bytes() for name in held} == before
        assert {name: read_secret(tmp_path, name, seal) for name in secret_names(tmp_path)} == held
        assert all((tmp_path / name).stat().st_mode & 0o77 == 0 for name in held)


def test_nothing_is_changed_when_one_of_them_does_not_open(tmp_path: Path) -> None:
    folder(tmp_path, Seal(key()))
    (tmp_path / "prompt.key").write_bytes(b"c" * 32)
    with pytest.raises(ConfigError):
        list(reseal(tmp_path, Seal(key(OTHER))))
    assert (tmp_path / "prompt.key").read_bytes() == b"c" * 32


def test_a_second_run_is_told_whose_turn_it_is_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    folder(tmp_path, Seal(key()))
    first = reseal(tmp_path, Seal(key(OTHER), [key()]))
    next(first)
    with pytest.raises(ConfigError, match=rf"process {os.getpid()}\b"):
        list(reseal(tmp_path, Seal(key(OTHER), [key()])))
    list(first)
    assert {held for _, held in reseal(tmp_path, Seal(key(OTHER)))} == {"sealed"}


def test_kill_9_between_any_two_steps_leaves_each_secret_old_or_new_and_the_next_run_goes_on(tmp_path: Path) -> None:
    driver = Path(__file__).parents[1] / "faults" / "sealing_driver.py"
    ran = subprocess.run([sys.executable, str(driver), str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    killed, ended = map(int, ran.stdout.split())
    assert killed >= 12 and ended == 1, "every step was died at, and one run came to its end"


async def test_a_folder_made_with_a_key_holds_no_secret_in_clear_and_opens_with_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAL", KEY)
    monkeypatch.setenv("OTHER", OTHER)
    data = tmp_path / "data"
    plain, with_key = settings_for(data), settings_for(data, secrets={"key": "env:SEAL"})
    await init(with_key)
    names = secret_names(data / "secrets")
    assert names == ["prompt.key", "pseudonym.key"]
    assert all((data / "secrets" / name).read_bytes().startswith(MAGIC) for name in names)
    assert sealed(data, open_seal(with_key)).state == "ok"
    for wrong in (plain, settings_for(data, secrets={"key": "env:OTHER"})):
        assert sealed(data, open_seal(wrong)).state == "fail"
        with pytest.raises(ConfigError, match=r"secrets\.key"):
            async with open_app(wrong, work=False):
                pass
    turned = settings_for(data, secrets={"key": "env:OTHER", "old_keys": ["env:SEAL"]})
    assert (sealed(data, open_seal(turned)).state, sealed(data, open_seal(turned)).fix) == (
        "warn",
        "bascule secrets rotate",
    )
    async with open_app(turned, work=False):
        pass
    list(reseal(data / "secrets", open_seal(turned)))
    assert sealed(data, open_seal(settings_for(data, secrets={"key": "env:OTHER"}))).state == "ok"


@pytest.mark.parametrize(
    ("given", "told"), [({"key": "env:SHORT"}, "openssl rand"), ({"key": "inside"}, "data folder")]
)
def test_a_key_that_guards_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], told: str
) -> None:
    monkeypatch.setenv("SHORT", "hunter2")
    if given["key"] == "inside":
        given = {"key": f"file:{tmp_path}/data/secrets/master"}
    with pytest.raises(ConfigError, match=told):
        open_seal(settings_for(tmp_path / "data", secrets=given))
