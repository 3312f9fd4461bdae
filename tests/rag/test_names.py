"""Names by a spaCy model: a real pipeline, whose rules stand for a trained model's judgement, loaded in the real child."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from bascule.core.errors import ConfigError
from bascule.core.recognise import KINDS
from bascule.rag.names import found_at, with_names
from bascule.rag.prepare import PrepareOptions
from bascule.rag.sandbox import SandboxOptions, open_sandbox

HAS_SPACY = find_spec("spacy") is not None
pytestmark = pytest.mark.skipif(not HAS_SPACY, reason="THE EXTRA names IS NOT INSTALLED: no names were looked for")
TEXT = b"Maria Jensen lives in Odense. Write to maria@example.test.\n\nNobody is named here."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    import spacy

    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    rules = [("PERSON", "Maria Jensen"), ("PERSON", "example"), ("GPE", "Odense"), ("ORG", "Nobody")]
    ruler.add_patterns([{"label": label, "pattern": words} for label, words in rules])
    folder = tmp_path_factory.mktemp("model") / "names"
    nlp.to_disk(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("mode", "wanted", "text"),
    [
        ("mask", ("name", "place"), "[name] lives in [place]. Write to [email]."),
        ("mask", ("name",), "[name] lives in Odense. Write to [email]."),
        ("keep", ("name",), "Maria Jensen lives in Odense. Write to maria@example.test."),
        ("drop", ("name",), "Nobody is named here."),
    ],
)
async def test_names_are_treated_as_the_collection_treats_personal_data(model, mode, wanted, text) -> None:
    options = PrepareOptions(kinds=(*KINDS, *wanted), names_model=model)
    async with open_sandbox(SandboxOptions(prepare=options)) as box:
        found = await box.prepare(TEXT, "a.txt", "", mode)
    assert found.chunks[0].text.startswith(text)


async def test_a_name_has_one_pseudonym_that_can_be_told(model) -> None:
    options = PrepareOptions(kinds=(*KINDS, "name"), names_model=model)
    async with open_sandbox(SandboxOptions(prepare=options)) as box:
        text = (await box.prepare(TEXT, "a.txt", "", "pseudonymise", b"k" * 32)).chunks[0].text
        shown = text[: text.index("]") + 1]
        assert shown.startswith("[name:")
        told = await box.prepare(TEXT, "a.txt", "", "pseudonymise", b"k" * 32, shown)
    assert told.report["value"] == "Maria Jensen"


def test_what_rules_find_comes_before_what_the_model_says(model) -> None:
    found = with_names(model)("maria@example.test", kinds=(*KINDS, "name"))
    assert [finding.kind for finding in found] == ["email"]


def test_a_model_that_is_not_there_is_said_at_start(tmp_path: Path) -> None:
    for missing in ("no_such_model", "../etc", str(tmp_path / "none")):
        with pytest.raises(ConfigError, match="names_model"):
            found_at(missing, tmp_path)
