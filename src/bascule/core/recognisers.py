"""What personal data and secrets look like: each recogniser proposes spans and checks them (checksums, context).

Works on the folded text of `recognise.find` (ASCII digits, no invisible characters), so none of them knows about tricks.
Sources: ISO/IEC 7812 (cards, Luhn), ISO 13616 (IBAN, mod 97), SSA's rules for numbers never issued, and the documented
prefixes of vendors' keys.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bascule.core.digit_windows import Window
from bascule.core.national_ids import luhn, national_id
from bascule.core.policies import Finding

_EMAIL: Final = re.compile(r"(?<![\w.%+\-])[\w.%+\-]{1,64}@(?:[\w\-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w\-])")

_SEPARATED_DIGITS: Final = re.compile(r"(?<![\d+])\d(?:[\s\-.]{0,3}\d){11,}+")
_CARD_PREFIX: Final = re.compile(r"4|5[0-8]|2(?:2[2-9]|[3-6]|7[01]|720)|3[4-9]|30[0-5]|6|2131|1800|62|81")
_GROUP: Final = re.compile(r"\d+")
_CARD_FOURS: Final = re.compile(r"(?<![\w/|])\d{4}([/_|])\d{4}\1\d{4}\1\d{4}(?![\w/|])")  # dates are never set so

_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ \t.\-]?[A-Z0-9]){11,30}(?![A-Za-z0-9])", re.IGNORECASE)
_IBAN_LENGTHS: Final = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19,
    "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip

_SSN: Final = re.compile(r"(?<![\w\-])(?!000|666|9\d\d)(\d{3})([\- .])(?!00)(\d{2})\2(?!0000)(\d{4})(?![\w\-])")
_SSN_BARE: Final = re.compile(r"(?<![\w\-])(?!000|666|9\d\d)\d{3}(?!00)\d{2}(?!0000)\d{4}(?![\w\-])")
_SSN_CONTEXT: Final = re.compile(r"\bssn\b|social security|taxpayer|\bitin\b", re.IGNORECASE)

_PHONE: Final = re.compile(
    r"(?<![\w.\-/+])(?:\+|00)?\(?\d{1,4}\)?(?:[ \t.\-/()]{0,2}\d{1,5}){1,6}(?:\s?(?:x|ext\.?)\s?\d{1,6})?(?![\w/]|[.\-]\d)"
)
_PHONE_CONTEXT: Final = re.compile(
    r"\b(?:phone|tel|telephone|mobile|cell|fax|call|dial|whatsapp|sms|hotline|contact|desk|office|reach)\b",
    re.IGNORECASE,
)
_PHONE_LABEL: Final = re.compile(r"[\s\-(]{0,3}(?:office|fax|mobile|home|work|cell|phone)\b", re.IGNORECASE)
_NO_PHONE: Final = re.compile(
    r"\d{4}-\d\d-\d\d|\d{3}-\d\d-\d{4}\Z|[+-]?\d+\.\d+\Z"
)  # a date, a number never issued, a decimal
_PHONE_SHAPE: Final = re.compile(
    r"(?:\+|00)[1-9](?:[\s.\-/()]{0,3}\d){6,14}"  # international
    r"|\(\d{2,5}\)[\s.\-]{0,2}\d{3,4}(?:[\s.\-]?\d{2,5}){0,2}"  # (area) number
    r"|(?:1[\-. ])?\d{3}[\-.]\d{3}[\-.]\d{4}"  # 201-948-1927
    r"|\d{3} \d{3} \d{4}|0\d{1,4}(?:[ \-]\d{2,4}){2,4}|0\d{3,4}[ \-]\d{6,7}|555[\-. ]\d{4}[\-. ]\d{4}"
)

_IPV4: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
FOUR_NUMBERS: Final = re.compile(r"\d\.\d{1,3}\.\d{1,3}\.\d")
_IPV6: Final = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{4,39}(?:(?<=:)\d{1,3}(?:\.\d{1,3}){3})?(?![\w:])"
)
_VERSION_CONTEXT: Final = re.compile(r"(?:version|release|build|v|ver\.?|section|rfc)\s*$", re.IGNORECASE)

_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----.{0,20000}?(?:-----END [A-Z0-9 ]{0,30}-----|\Z)", re.DOTALL
)
KNOWN_KEY: Final = re.compile(
    r"(?<![A-Za-z0-9_\-])(?:"
    r"(?:sk|pk|rk)[-_](?:[A-Za-z0-9]{1,12}[-_]){0,3}[A-Za-z0-9_\-]{16,200}"  # OpenAI, Anthropic, Stripe
    r"|bsk_[A-Za-z0-9_\-]{20,60}"
    r"|(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}"
    r"|gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}|glpat-[A-Za-z0-9_\-]{16,64}"
    r"|xox[abeoprs]-[A-Za-z0-9\-]{10,250}|xapp-[A-Za-z0-9\-]{10,250}"
    r"|AIza[A-Za-z0-9_\-]{30,45}|ya29\.[A-Za-z0-9_\-]{20,250}"
    r"|hf_[A-Za-z0-9]{20,60}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_\-]{50,250}|dop_v1_[a-f0-9]{64}|SG\.[\w\-]{16,32}\.[\w\-]{30,60}"
    r"|eyJ[A-Za-z0-9_\-]{8,4000}\.eyJ[A-Za-z0-9_\-]{4,4000}\.[A-Za-z0-9_\-]{0,4000}"
    r")(?![A-Za-z0-9_\-])"
)
# Of KNOWN_KEY: what any of them begins with.
KEY_PREFIXES: Final = (
    "sk-", "sk_", "pk-", "pk_", "rk-", "rk_", "bsk_", "AKIA", "ASIA", "AROA", "AIDA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_",
    "github_pat_", "glpat-", "xoxa-", "xoxb-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xapp-", "AIza", "ya29.", "hf_",
    "npm_", "pypi-", "dop_v1_", "SG.", "eyJ",
)  # fmt: skip
# By a character of theirs: one of these is in each of KEY_PREFIXES.
KEY_HINTS: Final[dict[str, tuple[str, ...]]] = {
    "_": ("k_", "gh", "_pat_", "hf_", "npm_", "p_v1_"),
    "-": ("k-", "glpat-", "xox", "xapp-", "pypi-"),
    "A": ("AKIA", "ASIA", "AROA", "AIDA", "AIza"),
    "J": ("eyJ",),
    ".": ("ya29.", "SG."),
}
_SHORT_PROJECT_KEY: Final = re.compile(
    r"(?<![A-Za-z0-9_\-])sk-(?:proj|ant|live|test|svcacct)[A-Za-z0-9]{0,8}-[A-Za-z0-9_\-]{3,200}"
)
_ASSIGNED: Final = re.compile(
    r"(?:api[_\- ]?key|secret(?:[_\- ]?key)?|access[_\- ]?(?:key|token)|auth[_\- ]?token|bearer|token|passw(?:or)?d|pwd"
    r"|client[_\- ]?secret|private[_\- ]?key|credentials?)"
    r"[\"']?\s{0,3}(?:[:=]|\bis\b|\bbearer\b)?\s{0,3}[\"'`]?([^\s\"'`,;<>(){}\[\]]{8,200})",
    re.IGNORECASE,
)
# One of them is in every name that _ASSIGNED begins with.
_ASSIGNED_WORDS: Final = ("key", "secret", "token", "bearer", "passw", "pwd", "credential")
_MIN_ENTROPY_BITS: Final = 3.0


def _within(pattern: re.Pattern[str], text: str, windows: Sequence[Window]) -> Iterator[re.Match[str]]:
    for start, end in windows:
        yield from pattern.finditer(text, start, end)


def email(text: str, _: str, _windows: Sequence[Window]) -> Iterator[Finding]:
    if "@" in text:
        yield from (Finding(kind="email", start=m.start(), end=m.end()) for m in _EMAIL.finditer(text))


def card(text: str, _: str, windows: Sequence[Window]) -> Iterator[Finding]:
    """Whole groups of digits, up to three separators apart, 12 to 19 digits in all, a known prefix, a right check digit."""
    for match in _within(_SEPARATED_DIGITS, text, windows):
        groups = [
            (m.group(), match.start() + m.start(), match.start() + m.end()) for m in _GROUP.finditer(match.group())
        ]
        first = 0
        while first < len(groups):
            last = _card_end(groups, first)
            if last < 0:
                first += 1
                continue
            yield Finding(kind="card", start=groups[first][1], end=groups[last][2])
            first = last + 1
    for match in _within(_CARD_FOURS, text, windows):
        if _is_card(re.sub(r"\D", "", match.group())):
            yield Finding(kind="card", start=match.start(), end=match.end())


def _is_card(digits: str) -> bool:
    return bool(_CARD_PREFIX.match(digits)) and luhn(digits) and len(set(digits)) > 1


def _card_end(groups: list[tuple[str, int, int]], first: int) -> int:
    digits, found = "", -1
    if not _CARD_PREFIX.match("".join(group for group, _, _ in groups[first : first + 4])):
        return -1
    for index in range(first, len(groups)):
        digits += groups[index][0]
        if len(digits) > 19:
            break
        if len(digits) >= 12 and luhn(digits) and len(set(digits)) > 1:
            found = index
    return found


def iban(text: str, _: str, windows: Sequence[Window]) -> Iterator[Finding]:
    for start, stop in windows:
        match = _IBAN.search(text, start, stop)
        while match:
            end = _iban_end(match.group())
            if end:
                yield Finding(kind="iban", start=match.start(), end=match.start() + end)
            match = _IBAN.search(text, match.start() + (end or 4), stop)


def _iban_end(text: str) -> int:
    """How many characters of `text` make a whole IBAN: its country's length, and a remainder of one modulo 97."""
    length, seen = _IBAN_LENGTHS.get(text[:2].upper(), 0), 0
    for index, char in enumerate(text):
        seen += char.isalnum()
        if seen == length:
            plain = re.sub(r"[ \t.\-]", "", text[: index + 1]).upper()
            turned = plain[4:] + plain[:4]
            return index + 1 if int("".join(str(int(c, 36)) for c in turned)) % 97 == 1 else 0
    return 0


def ssn(text: str, context: str, windows: Sequence[Window]) -> Iterator[Finding]:
    yield from (Finding(kind="ssn", start=m.start(), end=m.end()) for m in _within(_SSN, text, windows))
    named = bool(_SSN_CONTEXT.search(context))
    for match in _within(_SSN_BARE, text, windows):
        if named or _SSN_CONTEXT.search(text, max(0, match.start() - 40), match.start()):
            yield Finding(kind="ssn", start=match.start(), end=match.end())


def phone(text: str, context: str, windows: Sequence[Window]) -> Iterator[Finding]:
    """Only what has the shape of a telephone number, or any 7 to 15 digits beside a word that says so."""
    named = bool(_PHONE_CONTEXT.search(context))
    for match in _within(_PHONE, text, windows):
        found = match.group().rstrip(" .-/(")
        plain = re.split(r"\s?[xe]", found)[0]
        digits = sum(char.isdigit() for char in plain)
        if not 7 <= digits <= 15 or _NO_PHONE.match(found):
            continue
        end = match.start() + len(found)
        beside = (
            named
            or _PHONE_CONTEXT.search(text, max(0, match.start() - 30), match.start())
            or _PHONE_LABEL.match(text, end)
        )
        if beside or _PHONE_SHAPE.fullmatch(plain):
            yield Finding(kind="phone", start=match.start(), end=end)


def may_hold_ipv6(text: str) -> bool:
    return "::" in text or text.count(":") >= 7


def ip(text: str, _: str, _windows: Sequence[Window]) -> Iterator[Finding]:
    """Public addresses; private and documentation ranges name nobody."""
    patterns = [_IPV4] if FOUR_NUMBERS.search(text) else []
    if may_hold_ipv6(text):
        patterns.append(_IPV6)
    for pattern in patterns:
        for match in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(match.group())
            except ValueError:
                continue
            if address.is_global and not _VERSION_CONTEXT.search(text[max(0, match.start() - 12) : match.start()]):
                yield Finding(kind="ip", start=match.start(), end=match.end())


def may_hold_known_key(text: str) -> bool:
    """One character is found thirty times as fast as two."""
    hinted = any(mark in text and any(hint in text for hint in hints) for mark, hints in KEY_HINTS.items())
    return hinted and any(prefix in text for prefix in KEY_PREFIXES)


def may_assign_key(text: str) -> bool:
    """What is assigned has a digit."""
    if text.isascii() and not any(map(text.__contains__, "0123456789")):
        return False
    plain = text.lower()
    return any(word in plain for word in _ASSIGNED_WORDS)


def key(text: str, context: str, _windows: Sequence[Window]) -> Iterator[Finding]:
    if may_hold_known_key(text):
        for pattern in (KNOWN_KEY, _SHORT_PROJECT_KEY):
            yield from (Finding(kind="key", start=m.start(), end=m.end()) for m in pattern.finditer(text))
    for match in _ASSIGNED.finditer(text) if may_assign_key(text) else ():
        value = match.group(1).rstrip(".")
        if _looks_random(value):
            yield Finding(kind="key", start=match.start(1), end=match.start(1) + len(value))
    if (
        context
        and re.search(r"passw(?:or)?d|secret|api.?key|token", context, re.IGNORECASE)
        and _looks_random(text.strip())
    ):
        start = len(text) - len(text.lstrip())
        yield Finding(kind="key", start=start, end=start + len(text.strip()))


def _looks_random(value: str) -> bool:
    """No word and no path: letters and digits mixed, and as varied as chance makes them."""
    if len(value) < 8 or " " in value or not (any(c.isdigit() for c in value) and any(c.isalpha() for c in value)):
        return False
    if value.count("/") > 1 or value.startswith(("http:", "https:", "$", "env:", "file:")) or value.count(".") > 2:
        return False
    counts = Counter(value)
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return bits >= min(_MIN_ENTROPY_BITS, math.log2(len(value)) - 0.4)


def private_key(text: str, _: str, _windows: Sequence[Window]) -> Iterator[Finding]:
    if "PRIVATE KEY" in text:
        yield from (Finding(kind="private_key", start=m.start(), end=m.end()) for m in _PRIVATE_KEY.finditer(text))


# Of the folded text, what stands above it, and where its numbers are.
Recogniser = Callable[[str, str, Sequence[Window]], Iterator[Finding]]

# What reads windows alone: nothing of it is in a text without six digits close together.
OF_DIGITS: Final = frozenset({"iban", "card", "ssn", "phone"})
RECOGNISERS: Final[dict[str, Recogniser]] = {  # earlier ones win where two overlap
    "private_key": private_key,
    "key": key,
    "email": email,
    "iban": iban,
    "card": card,
    "ssn": ssn,
    "national_id": national_id,
    "ip": ip,
    "phone": phone,
}
