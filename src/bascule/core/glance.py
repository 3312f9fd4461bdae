"""Which kinds of personal data and secrets can be in a text at all: a glance that costs a tenth of looking."""

from __future__ import annotations

from typing import Final

from bascule.core.digit_windows import has_numbers
from bascule.core.national_ids import has_few_digits
from bascule.core.recognisers import (
    FOUR_NUMBERS,
    OF_DIGITS,
    may_assign_key,
    may_hold_ipv6,
    may_hold_known_key,
)

_IN_A_NUMBER: Final = 6  # digits, at least
_IN_ANY: Final = 4


def glance(folded: str) -> set[str]:
    """No kind is missing that its recogniser finds in a part of the text that white space parts from the rest, nor in a
    table's cell when the text holds its header too."""
    found: set[str] = set()
    digits = sum(map(folded.count, "0123456789"))  # folding leaves no others
    if digits >= _IN_A_NUMBER and has_numbers(folded):
        found |= OF_DIGITS | {"national_id"}
    elif digits >= _IN_ANY and has_few_digits(folded):
        found.add("national_id")
    if "@" in folded:
        found.add("email")
    if may_hold_ipv6(folded) or (digits >= _IN_ANY and FOUR_NUMBERS.search(folded)):
        found.add("ip")
    if "-----BEGIN" in folded:
        found.add("private_key")
    if may_hold_known_key(folded) or may_assign_key(folded):
        found.add("key")
    return found
