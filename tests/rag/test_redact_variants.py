"""Made numbers of the kinds promised at .99, in the ways people and tools set them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from bascule.core.national_ids import luhn
from bascule.core.recognise import KINDS
from bascule.rag.redact import redact

CHANCE = random.Random(20)
FRAMES = ["Pay with {} today.", "Number: {}", "({})", "see {}, thanks", "{}"]
SEPARATORS = {
    "none": "", "space": " ", "spaces": "  ", "hyphen": "-", "no-break space": "\u00a0", "thin space": "\u2009",
    "wide space": "\u3000", "zero width": "\u200b", "non-joiner": "\u200c", "word joiner": "\u2060", "soft hyphen": "\xad",
    "en dash": "\u2013", "figure dash": "\u2012", "no-break hyphen": "\u2011", "dot": ".", "tab": "\t",
}  # fmt: skip


def digits(count: int) -> str:
    return "".join(CHANCE.choice("0123456789") for _ in range(count))


def card(prefix: str, length: int) -> str:
    body = prefix + digits(length - len(prefix) - 1)
    return next(body + last for last in "0123456789" if luhn(body + last))


def iban(country: str, body: str) -> str:
    rest = int("".join(str(int(char, 36)) for char in body + country + "00")) % 97
    return f"{country}{98 - rest:02d}{body}"


def cards() -> list[str]:
    second = str(CHANCE.randint(2221, 2720))
    return [
        card(p, n) for p, n in (("4", 16), (second, 16), ("51", 16), ("55", 16), ("37", 15), ("6011", 16), ("3528", 16))
    ]


def ibans() -> list[str]:
    bodies = {
        "DE": digits(18),
        "GB": "WEST" + digits(14),
        "FR": digits(23),
        "NL": "ABNA" + digits(10),
        "ES": digits(20),
    }
    return [iban(country, body) for country, body in bodies.items()]


def ssns() -> list[str]:
    return [f"{CHANCE.randint(1, 665):03d}-{CHANCE.randint(1, 99):02d}-{CHANCE.randint(1, 9999):04d}" for _ in range(5)]


def emails() -> list[str]:
    name = "ann" + digits(3)
    return [f"{name}@example.com", f"{name}+shop@mail.example.co.uk", f"o.{name}@EXAMPLE.ORG", f"{name}@bücher.de"]


def fours(value: str, separator: str) -> str:
    return separator.join(value[at : at + 4] for at in range(0, len(value), 4))


def wide(value: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in value)


def missed(values: list[str]) -> list[str]:
    texts = [CHANCE.choice(FRAMES).format(value) for value in values]
    return [text for text in texts if not _is_masked(text)]


def _is_masked(text: str) -> bool:
    counts: Counter[str] = Counter()
    return not any(char.isdigit() for char in redact(text, counts, kinds=KINDS)) and sum(counts.values()) == 1


@pytest.mark.parametrize("separator", SEPARATORS.values(), ids=SEPARATORS)
@pytest.mark.parametrize("made", [cards, ibans])
def test_made_numbers_are_found_however_they_are_set(made: Callable[[], list[str]], separator: str) -> None:
    if made is ibans and separator == "  ":
        pytest.skip("an IBAN with two spaces between its groups is not looked for")
    assert missed([fours(value, separator) for _ in range(5) for value in made()]) == []


@pytest.mark.parametrize("separator", ["/", "_", "|"])
def test_cards_in_fours_between_other_signs(separator: str) -> None:
    assert missed([fours(value, separator) for value in cards() if len(value) == 16]) == []


@pytest.mark.parametrize("made", [cards, ibans, ssns, emails])
@pytest.mark.parametrize("form", [wide, "\u200b".join, str], ids=["full width", "zero width between", "plain"])
def test_disguises_of_single_characters(made: Callable[[], list[str]], form: Callable[[str], str]) -> None:
    assert missed([form(value) for _ in range(5) for value in made()]) == []


@pytest.mark.parametrize("text", ["2024/0115/1230/0000", "1/2024/4111/1111", "a_4111_1111_1111_1111_b"])
def test_paths_and_dates_between_such_signs_are_none(text: str) -> None:
    counts: Counter[str] = Counter()
    redact(text, counts, kinds=("card",))
    assert not counts
