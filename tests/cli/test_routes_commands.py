"""routes: made and changed on a folder, and over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def with_echo(folder: Path) -> Path:
    text = '[rag]\nenabled = false\n[providers.e]\nkind = "echo"\n[models.fixed]\ntargets = [{ provider = "e", model = "m" }]\n'
    (folder / "bascule.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_route_is_made_changed_disabled_and_removed(cli, with_echo: Path, tmp_path: Path) -> None:
    here = ("--data", with_echo)
    made = cli.json("routes", "create", "fast", "--target", "e/any", *here)
    assert (made["origin"], made["settings"]["targets"]) == ("api", [{"provider": "e", "model": "any"}])
    settings = tmp_path / "fast.json"
    settings.write_text(json.dumps({"timeout_s": 3}), encoding="utf-8")
    changed = cli.json("routes", "change", "fast", "--settings", settings, "-t", "e/one", "-t", "e/two", *here)
    assert changed["settings"]["timeout_s"] == 3 and len(changed["settings"]["targets"]) == 2
    assert cli.json("routes", "disable", "fast", *here)["enabled"] is False
    code, out, _ = cli("routes", "list", *here)
    assert code == 0 and "fast\tapi\tdisabled\te/one, e/two" in out and "fixed\tfile\tenabled\te/m" in out
    assert cli.json("routes", "enable", "fast", *here)["enabled"] is True
    assert '"timeout_s": 3' in cli("routes", "show", "fast", *here)[1]
    assert cli.json("routes", "remove", "fast", *here) == {"removed": "fast"}
    assert [route["name"] for route in cli.json("routes", "list", *here)["data"]] == ["fixed"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("create", "fast", "-t", "e"), "PROVIDER/MODEL"),
        (("create", "fast"), "targets"),
        (("create", "fast", "-t", "nosuch/m"), "nosuch"),
        (("create", "fixed", "-t", "e/m"), "configuration file"),
        (("create", "fast", "--settings", "missing.json"), "cannot be read"),
        (("remove", "nosuch"), "no such route"),
    ],
)
def test_a_wrong_wish_says_what_is_wrong(cli, with_echo: Path, arguments: tuple[str, ...], says: str) -> None:
    code, out, err = cli("routes", *arguments, "--data", with_echo)
    assert code != 0 and says in err and not out
