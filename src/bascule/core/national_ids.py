"""National identity, tax and insurance numbers: their shapes and the check digits that their issuers publish.

A number whose shape says enough (letters, a birth date, two check digits) stands for itself; one that is only digits counts
where a word beside it, or the name of its column, says what it is. One kind for all, because a mask names no country.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from typing import Final

import msgspec

from bascule.core.digit_windows import Window
from bascule.core.policies import Finding

_CONTEXT_CHARS: Final = 60
_GENERAL: Final = (
    r"national (?:id|insurance|number)|identity (?:card|number|no)|\bid (?:number|no|card)|personal (?:id|number|code)"
    r"|tax(?:payer)? (?:id|number)|identification number|citizen (?:id|number)|social (?:security|insurance)"
)
# Of the Indian PAN, the one number with fewer digits than a window has.
_FEW_DIGITS: Final = re.compile(r"\d{4}[A-Za-z](?![\w\-])")

# Where any of the others may begin.
_START: Final = re.compile(r"(?<![\w\-+./])(?=[A-Za-z]{0,9}[ \-]?\d)[A-Za-z\d]")


class NationalId(msgspec.Struct, frozen=True):
    """`words` is what must stand near it (general words count too), None when its shape is enough."""

    country: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool]  # of the letters and digits alone, upper case
    words: re.Pattern[str] | None = None


_Shapes = tuple[tuple[re.Pattern[str], tuple[NationalId, ...]], ...]


def national_id(text: str, context: str, windows: Sequence[Window]) -> Iterator[Finding]:
    for start, end in windows:
        for begin in _START.finditer(text, start, end):
            if _ANY_LONG.match(text, begin.start(), end):
                yield from _matches(_LONG, text, context, begin.start(), end)
    if has_few_digits(text):
        for few in _PAN.pattern.finditer(text):
            yield from _matches(_SHORT, text, context, few.start(), len(text))


def has_few_digits(text: str) -> bool:
    return _FEW_DIGITS.search(text) is not None


def _matches(shapes: _Shapes, text: str, context: str, at: int, end: int) -> Iterator[Finding]:
    for pattern, numbers in shapes:
        match = pattern.match(text, at, end)
        if match is None:
            continue
        plain = re.sub(r"[^A-Za-z0-9]", "", match.group()).upper()
        # The check comes first: looking for words costs much more.
        if any(n.check(plain) and (n.words is None or _named(n.words, text, context, at)) for n in numbers):
            yield Finding(kind="national_id", start=at, end=match.end())


def _named(words: re.Pattern[str], text: str, context: str, at: int) -> bool:
    return bool(words.search(context) or words.search(text, max(0, at - _CONTEXT_CHARS), at))


def _weighted(digits: str, weights: Sequence[int]) -> int:
    return sum(int(d) * w for d, w in zip(digits, weights, strict=False))


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _is_yymmdd(digits: str) -> bool:
    """A day of some century (2000 was a leap year, 1900 was none: the later date is tried)."""
    return _is_date(2000 + int(digits[:2]), int(digits[2:4]), int(digits[4:6]))


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    total = 0
    for position, char in enumerate(reversed(digits)):
        value = int(char) * (1 + position % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _mod_11_10(digits: str) -> bool:
    """ISO/IEC 7064, MOD 11,10."""
    check = 5
    for digit in digits:
        check = ((((check or 10) * 2) % 11) + int(digit)) % 10
    return check == 1


_VERHOEFF_D: Final = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432", "7659821043", "8765932104",
    "9876543210",
)  # fmt: skip
_VERHOEFF_P: Final = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def _verhoeff(digits: str) -> bool:
    check = 0
    for position, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF_D[check][int(_VERHOEFF_P[position % 8][int(digit)])])
    return check == 0


def _spain(n: str) -> bool:
    digits = {"X": "0", "Y": "1", "Z": "2"}.get(n[0], n[0]) + n[1:8]
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == n[8]


_ITALY_ODD: Final = (  # of digits (and of the letters A to J), then of K to Z
    (1, 0, 5, 7, 9, 13, 15, 17, 19, 21),
    (2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
)


def _italy_odd(char: str) -> int:
    if char.isdigit():
        return _ITALY_ODD[0][int(char)]
    at = ord(char) - 65
    return _ITALY_ODD[0][at] if at < 10 else _ITALY_ODD[1][at - 10]


def _italy(n: str) -> bool:
    even = sum(int(c) if c.isdigit() else ord(c) - 65 for c in n[1:15:2])
    return chr((even + sum(map(_italy_odd, n[0:15:2]))) % 26 + 65) == n[15]


def _france(n: str) -> bool:
    digits = n[:13].replace("2A", "19").replace("2B", "18")
    return digits.isdigit() and 97 - int(digits) % 97 == int(n[13:])


def _germany(n: str) -> bool:
    counts = [n[:10].count(d) for d in set(n[:10])]
    return n[0] != "0" and max(counts) in (2, 3) and _mod_11_10(n)


def _nhs(n: str) -> bool:
    return (11 - _weighted(n[:9], range(10, 1, -1)) % 11) % 11 == int(n[9])


def _netherlands(n: str) -> bool:
    n = n.zfill(9)
    return int(n) > 0 and _weighted(n, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def _poland(n: str) -> bool:
    month = int(n[2:4]) % 20  # the century is added to the month
    return _is_date(2000 + int(n[:2]), month, int(n[4:6])) and _weighted(n, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def _sweden(n: str) -> bool:
    n = n[-10:]
    day = int(n[4:6])
    return _is_yymmdd(f"{n[:4]}{day - 60 if day > 60 else day:02}") and luhn(n)  # 60 more: a coordination number


def _finland(n: str) -> bool:
    digits = n[:6] + n[-4:-1]
    return _is_yymmdd(n[4:6] + n[2:4] + n[:2]) and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(digits) % 31] == n[-1]


def _denmark(n: str) -> bool:
    return _is_yymmdd(n[4:6] + n[2:4] + n[:2])


def _norway(n: str) -> bool:
    if not _is_yymmdd(n[4:6] + f"{int(n[2:4]) % 40:02}" + f"{int(n[:2]) % 40:02}"):
        return False
    first = _weighted(n, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11
    return first == 0 and _weighted(n, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def _belgium(n: str) -> bool:
    check = int(n[9:])
    return 97 - int(n[:9]) % 97 == check or 97 - int("2" + n[:9]) % 97 == check


def _ean(n: str) -> bool:
    return _weighted(n, (1, 3) * 7) % 10 == 0


def _austria(n: str) -> bool:
    return _weighted(n[:3] + n[4:], (3, 7, 9, 5, 8, 4, 2, 1, 6)) % 11 == int(n[3])


def _portugal(n: str) -> bool:
    return (11 - _weighted(n[:8], range(9, 1, -1)) % 11) % 11 % 10 == int(n[8])


def _brazil(n: str) -> bool:
    if len(set(n)) == 1:
        return False
    first = (11 - _weighted(n[:9], range(10, 1, -1)) % 11) % 11 % 10
    second = (11 - _weighted(n[:10], range(11, 1, -1)) % 11) % 11 % 10
    return n[9:] == f"{first}{second}"


def _australia(n: str) -> bool:
    weights = (1, 4, 3, 7, 5, 8, 6, 9, 10) if len(n) == 9 else (10, 7, 8, 4, 6, 3, 5, 1)
    return _weighted(n, weights) % 11 == 0


def _mexico(n: str) -> bool:
    letters = "0123456789ABCDEFGHIJKLMN\u00d1OPQRSTUVWXYZ"
    total = sum(letters.index(c) * w for c, w in zip(n[:17], range(18, 1, -1), strict=True))
    return _is_yymmdd(n[4:10]) and n[17] == str((10 - total % 10) % 10)


def _china(n: str) -> bool:
    if not _is_date(int(n[6:10]) or 1, int(n[10:12]), int(n[12:14])):
        return False
    total = sum(int(c) * (2 ** (17 - at)) for at, c in enumerate(n[:17]))
    return "10X98765432"[total % 11] == n[17]


def _turkey(n: str) -> bool:
    odd, even = sum(map(int, n[0:9:2])), sum(map(int, n[1:8:2]))
    return n[0] != "0" and (odd * 7 - even) % 10 == int(n[9]) and sum(map(int, n[:10])) % 10 == int(n[10])


def _romania(n: str) -> bool:
    check = _weighted(n, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return _is_yymmdd(n[1:7]) and (1 if check == 10 else check) == int(n[12])


def _dated_luhn(n: str) -> bool:
    return _is_yymmdd(n[:6]) and luhn(n)


def _greece(n: str) -> bool:
    return _is_yymmdd(n[4:6] + n[2:4] + n[:2]) and luhn(n)


def _czechia(n: str) -> bool:
    month = int(n[2:4]) % 50
    return _is_date(2000 + int(n[:2]), month % 20 or 20, int(n[4:6])) and (int(n) % 11 == 0)


def _korea(n: str) -> bool:
    return _is_yymmdd(n[:6]) and n[6] in "12345678"


def _israel(n: str) -> bool:
    return luhn(n.zfill(9))


def _bulgaria(n: str) -> bool:
    month = int(n[2:4]) % 20
    dated = _is_date(2000 + int(n[:2]), month, int(n[4:6]))
    return dated and _weighted(n, (2, 4, 8, 5, 10, 9, 7, 3, 6)) % 11 % 10 == int(n[9])


def _always(_: str) -> bool:
    return True


def _of(country: str, pattern: str, check: Callable[[str], bool], words: str = "") -> NationalId:
    near = re.compile(f"{words}|{_GENERAL}", re.IGNORECASE) if words else None
    return NationalId(country, re.compile(rf"(?<![\w\-+./])(?:{pattern})(?![\w\-]|[./]\d)", re.IGNORECASE), check, near)


_PAN: Final = _of("IN", r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", _always, r"\bpan\b|permanent account|income tax")
NUMBERS: Final[tuple[NationalId, ...]] = (
    _of("ES", r"\d{8}[ \-]?[A-HJ-NP-TV-Z]|[XYZ][ \-]?\d{7}[ \-]?[A-HJ-NP-TV-Z]", _spain),
    _of("IT", r"[A-Z]{6}[ ]?[\dL-NP-V]{2}[A-EHLMPR-T][\dL-NP-V]{2}[ ]?[A-Z][\dL-NP-V]{3}[A-Z]", _italy),
    _of("FR", r"[12][ ]?\d\d[ ]?\d\d[ ]?(?:\d\d|2[AB])[ ]?\d{3}[ ]?\d{3}[ ]?\d\d", _france),
    _of("DE", r"\d\d[ ]?\d{3}[ ]?\d{3}[ ]?\d{3}", _germany, r"steuer|\bidnr|\btin\b|identifikationsnummer"),
    _of("GB", r"\d{3}[ \-]?\d{3}[ \-]?\d{4}", _nhs, r"\bnhs\b"),
    _of("GB", r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] \d\d \d\d \d\d [A-D]", _always),
    _of(
        "GB",
        r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]",
        _always,
        r"\bnino\b|\bni (?:no|num)",
    ),
    _of("NL", r"\d{8,9}|\d{4}[. ]\d\d[. ]\d{3}|\d{3}[. ]\d{3}[. ]\d{3}", _netherlands, r"\bbsn\b|burgerservice|sofi"),
    _of("PL", r"\d{11}", _poland, r"pesel"),
    _of("SE", r"(?:19|20)?\d{6}[\-+]\d{4}", _sweden),
    _of("SE", r"(?:19|20)?\d{10}", _sweden, r"person(?:nummer|nr)|samordning"),
    _of("FI", r"\d{6}[+\-A-FU-Y]\d{3}[\dA-FHJ-NPR-Y]", _finland),
    _of("DK", r"\d{6}[\- ]?\d{4}", _denmark, r"\bcpr\b|personnummer"),
    _of("NO", r"\d{6}[ ]?\d{5}", _norway),
    _of("BE", r"\d\d\.\d\d\.\d\d[\- ]\d{3}[.\- ]\d\d", _belgium),
    _of("BE", r"\d{11}", _belgium, r"rijksregister|registre national|\bniss\b|\binsz\b"),
    _of("CH", r"756[. ]?\d{4}[. ]?\d{4}[. ]?\d\d", _ean),
    _of("AT", r"\d{4}[ ]?\d{6}", _austria, r"svnr|sozialversicherung|\bsvn\b"),
    _of("PT", r"\d{3}[ ]?\d{3}[ ]?\d{3}", _portugal, r"\bnif\b|contribuinte"),
    _of("BR", r"\d{3}\.\d{3}\.\d{3}-\d\d", _brazil),
    _of("BR", r"\d{11}", _brazil, r"\bcpf\b"),
    _of("IN", r"[2-9]\d{3}[ \-]?\d{4}[ \-]?\d{4}", _verhoeff, r"a?adhaar|\buidai\b|\buid\b"),
    _PAN,
    _of("CA", r"\d{3}[ \-]?\d{3}[ \-]?\d{3}", luhn, r"\bsin\b|\bnas\b"),
    _of("AU", r"\d{3}[ ]?\d{3}[ ]?\d{2,3}", _australia, r"\btfn\b|tax file"),
    _of("US", r"9\d\d-(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])-\d{4}", _always),
    _of("MX", r"[A-Z][AEIOUX][A-Z]{2}\d{6}[HMX][A-Z]{2}[B-DF-HJ-NP-TV-Z]{3}[A-Z\d]\d", _mexico),
    _of("CN", r"[1-9]\d{16}[\dX]", _china),
    _of("TR", r"\d{11}", _turkey, r"kimlik|\btckn?\b|t\.c\."),
    _of("RO", r"[1-8]\d{12}", _romania, r"\bcnp\b|cod numeric"),
    _of("ZA", r"\d{6}[ ]?\d{4}[ ]?\d{3}", _dated_luhn, r"\brsa id\b|\bsa id\b|\bid\b"),
    _of("GR", r"\d{11}", _greece, r"amka|αμκα"),
    _of("CZ", r"\d{6}/\d{4}", _czechia),
    _of("KR", r"\d{6}-\d{7}", _korea),
    _of("HR", r"\d{11}", _mod_11_10, r"\boib\b"),
    _of("IL", r"\d{9}", _israel, r"teudat|zehut|תעודת זהות|ת\.ז"),
    _of("BG", r"\d{10}", _bulgaria, r"\begn\b|егн"),
)


def _by_shape(numbers: Iterable[NationalId]) -> _Shapes:
    """Numbers of several countries that look alike are looked for once."""
    found: dict[re.Pattern[str], list[NationalId]] = {}
    for number in numbers:
        found.setdefault(number.pattern, []).append(number)
    return tuple((pattern, tuple(alike)) for pattern, alike in found.items())


_SHORT: Final = _by_shape(number for number in NUMBERS if number.pattern is _PAN.pattern)
_LONG: Final = _by_shape(number for number in NUMBERS if number.pattern is not _PAN.pattern)
_ANY_LONG: Final = re.compile("|".join(pattern.pattern for pattern, _ in _LONG), re.IGNORECASE)
