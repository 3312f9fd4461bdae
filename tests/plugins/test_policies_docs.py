"""The configuration examples of the how-to pages are valid, down to each plugin's own settings."""

from __future__ import annotations

import tomllib

import pytest
from tests import docs_check

from bascule.bootstrap import plugin
from bascule.settings import Exact


@pytest.mark.parametrize("page", ["policies.md", "observability.md"])
def test_every_example_is_a_valid_configuration(page: str) -> None:
    examples = docs_check.blocks(docs_check.ROOT / "docs" / "how-to" / page, "toml")
    assert len(examples) >= 3
    for _, text in examples:
        for given in Exact(**tomllib.loads(text)).policies.values():
            values = given.model_dump()
            plugin("policies", values.pop("kind")).Settings(**values)
