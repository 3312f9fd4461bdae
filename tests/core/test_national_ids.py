"""Check digits against an independent implementation, and what is taken for a number of a person in running text."""

import random
import re
from importlib import import_module

import pytest

from bascule.core.national_ids import NUMBERS
from bascule.core.recognise import find

ORACLE = {  # country -> the module that knows it, the words that name it
    "ES": ("es.dni", ""),
    "IT": ("it.codicefiscale", ""),
    "FR": ("fr.nir", ""),
    "DE": ("de.idnr", "Steuer-ID"),
    "NL": ("nl.bsn", "BSN"),
    "PL": ("pl.pesel", "PESEL"),
    "FI": ("fi.hetu", ""),
    "NO": ("no.fodselsnummer", ""),
    "CH": ("ch.ssn", ""),
    "AT": ("at.vnr", "SVNR"),
    "PT": ("pt.nif", "NIF"),
    "BR": ("br.cpf", "CPF"),
    "IN": ("in_.aadhaar", "Aadhaar"),
    "CA": ("ca.sin", "SIN"),
    "AU": ("au.tfn", "TFN"),
    "MX": ("mx.curp", ""),
    "CN": ("cn.ric", ""),
    "TR": ("tr.tckimlik", "kimlik"),
    "RO": ("ro.cnp", "CNP"),
    "ZA": ("za.idnr", "SA ID"),
    "GR": ("gr.amka", "AMKA"),
    "HR": ("hr.oib", "OIB"),
    "BG": ("bg.egn", "EGN"),
    "GB": ("gb.nhs", "NHS"),
}
VALID = {
    "ES": "54362315K", "IT": "RCCMNL83S18D969H", "FR": "2 95 10 99 126 111 93", "DE": "36 574 261 809", "NL": "1112.22.333",
    "PL": "44051401359", "FI": "131052-308T", "NO": "151086 95088", "CH": "756.9217.0769.85", "AT": "1237 010180",
    "PT": "123456789", "BR": "390.533.447-05", "IN": "2341 2341 2346", "CA": "123-456-782", "AU": "123 456 782",
    "MX": "BOXW310820HNERXN09", "CN": "360426199101010071", "TR": "17291716060", "RO": "1630615123457", "ZA": "7503305044089",
    "GR": "01013099997", "HR": "33392005961", "BG": "7523169263", "GB": "943-476-5870",
}  # fmt: skip


def kinds(text):
    return [(finding.kind, text[finding.start : finding.end]) for finding in find(text)]


@pytest.mark.parametrize("country", sorted(VALID))
def test_a_valid_number_is_found_and_one_with_a_wrong_digit_is_not(country):
    module, words = ORACLE[country]
    number = VALID[country]
    assert import_module(f"stdnum.{module}").is_valid(number)
    assert ("national_id", number) in kinds(f"Her {words} number: {number}, as told.")
    digits = [at for at, c in enumerate(number) if c.isdigit()]
    at = digits[-1]
    wrong = number[:at] + str((int(number[at]) + 1) % 10) + number[at + 1 :]
    assert ("national_id", wrong) not in kinds(f"Her {words} number: {wrong}, as told.")


@pytest.mark.parametrize(
    "country", ["DE", "NL", "PL", "PT", "BR", "IN", "CA", "TR", "HR", "GB", "CH", "NO", "BG", "GR", "AT"]
)
def test_check_digits_agree_with_an_independent_implementation(country):
    oracle = import_module(f"stdnum.{ORACLE[country][0]}")
    length = len(re.sub(r"\W", "", VALID[country]))
    plain = next(n for n in NUMBERS if n.country == country and n.pattern.fullmatch(re.sub(r"\W", "", VALID[country])))
    chance = random.Random(5)
    prefix = "756" if country == "CH" else ""
    dated = country in ("PL", "NO", "BG", "GR", "AT")
    agreed = 0
    for _ in range(4000):
        digits = prefix + "".join(chance.choice("0123456789") for _ in range(length - len(prefix)))
        if dated:
            day = f"{chance.randrange(1, 29):02}{chance.randrange(1, 13):02}{chance.randrange(40, 99):02}"
            digits = digits[:4] + day if country == "AT" else day + digits[6:]
            if country in ("PL", "BG"):
                digits = day[4:] + day[2:4] + day[:2] + digits[6:]
        if not plain.pattern.fullmatch(digits):
            continue
        if oracle.is_valid(digits):
            assert plain.check(digits), digits
            agreed += 1
        elif country not in ("AT", "NO", "GR", "BG", "DE", "PL", "TR", "IN", "NL", "PT", "BR", "CA"):
            assert not plain.check(digits), digits  # the others refuse more: dates to come, numbers never issued
    assert agreed > 5


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("NINO: AB123456C.", "AB123456C"),
        ("He gave AB 12 34 56 C as his number", "AB 12 34 56 C"),
        ("ITIN 912-70-1234 here", "912-70-1234"),
        ("personnummer 8803200016", "8803200016"),
        ("born as 880320-0016 in Lund", "880320-0016"),
        ("CPR 211062-5629", "211062-5629"),
        ("rijksregisternummer 85073003328", "85073003328"),
        ("(85.07.30-033.28)", "85.07.30-033.28"),
        ("rodné číslo 710319/2745", "710319/2745"),
        ("850101-1234567 lives in Seoul", "850101-1234567"),
        ("PAN: AAPPL1234C", "AAPPL1234C"),
        ("teudat zehut 039337423", "039337423"),
    ],
)
def test_numbers_without_check_digits_need_their_shape_or_a_word(text, number):
    assert ("national_id", number) in kinds(text)


@pytest.mark.parametrize(
    "text",
    [
        "ISBN 9780306406157 and 0306406152",
        "invoice 2024-000123 of 2024/05/06, 12345678 pieces",
        "order 123456789 came with 111222333 and 39053344705",
        "part AB123456C and code AAPPL1234C",
        "2018-02-24 12:45:18, room 880320, 131052-308Z",
        "commit 36042619910101007a and 756.1234.5678.91",
    ],
)
def test_digits_that_nothing_names_stay(text):
    assert not [found for found in kinds(text) if found[0] == "national_id"]


def test_the_name_of_a_column_names_what_stands_in_it():
    assert [f.kind for f in find("111222333", context="BSN")] == ["national_id"]
    assert [f.kind for f in find("111222333", context="Stock")] == []


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text", ["1" * 50_000, "1 " * 30_000, "12.34.56-" * 8_000, "ABCDEF12" * 8_000, "X1234567" * 8_000]
)
def test_no_text_makes_it_slow(text):
    find(text)
