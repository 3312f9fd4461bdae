"""One configuration tree: who beats whom, and errors that name the key and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.core.errors import ConfigError
from bascule.settings import load


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "bascule.toml"
    path.write_text(text)
    return path


def test_arguments_beat_environment_beats_file_beats_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write(tmp_path, "[gateway]\ntimeout_s = 7\ncache_ttl_s = 70\n[server]\nport = 9001\n")
    assert load().gateway.timeout_s == 15
    assert load(config).gateway.timeout_s == 7
    monkeypatch.setenv("BASCULE_GATEWAY__TIMEOUT_S", "8")
    monkeypatch.setenv("BASCULE_SERVER__PORT", "9002")
    settings = load(config, server={"port": 9003})
    assert (settings.gateway.timeout_s, settings.gateway.cache_ttl_s, settings.server.port) == (8, 70, 9003)


def test_the_file_in_the_data_folder_is_found(tmp_path: Path) -> None:
    write(tmp_path, "[gateway]\ntimeout_s = 3\n")
    assert load(data=tmp_path).gateway.timeout_s == 3


def test_an_unknown_key_is_named_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.timeout: this key does not exist"):
        load(write(tmp_path, "[gateway]\ntimeout = 3\n"))


def test_a_wrong_value_is_named_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.timeout_s"):
        load(write(tmp_path, "[gateway]\ntimeout_s = 'soon'\n"))


def test_a_target_must_name_a_provider_that_exists(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.fast\.targets names the provider 'nobody'"):
        load(write(tmp_path, "[models.fast]\ntargets = [{ provider = 'nobody', model = 'x' }]\n"))


def test_broken_toml_and_a_missing_file_are_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(write(tmp_path, "[gateway\n"))
    with pytest.raises(ConfigError, match="Check --config"):
        load(tmp_path / "absent.toml")


def test_the_issue_of_a_gateway_in_five_lines_loads(tmp_path: Path) -> None:
    settings = load(
        write(
            tmp_path,
            '[gateway]\ntimeout_s = 15\ncache_ttl_s = 3600\n[providers.main]\nkind = "openai"\n'
            'base_url = "http://127.0.0.1:9100/v1"\napi_key = "env:MAIN_KEY"\n'
            '[models.fast]\ntargets = [{ provider = "main", model = "gpt-x" }]\n',
        )
    )
    assert settings.models["fast"].targets[0].model == "gpt-x"
    assert settings.providers["main"].model_extra == {"base_url": "http://127.0.0.1:9100/v1", "api_key": "env:MAIN_KEY"}
