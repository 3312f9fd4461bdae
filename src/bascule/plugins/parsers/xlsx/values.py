"""Numbers as a reader of the sheet sees them: dates as ISO 8601, shares as per cent, no digits that are only float noise."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

_DATES: Final = {"14": "date", "15": "date", "16": "date", "17": "date", "18": "time", "19": "time", "20": "time", "21": "time"} | {
    "22": "datetime", "45": "time", "46": "time", "47": "time", "9": "percent", "10": "percent",
    # 27-36 and 50-58: dates of East Asian locales
    **{str(n): "date" for n in (*range(27, 32), 36, *range(50, 59))}, **{str(n): "time" for n in range(32, 36)},
}  # fmt: skip
_LITERAL: Final = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!h|m|s)[^\]]*\]', re.I)
_EPOCH: Final = datetime(1899, 12, 30)  # day 1 is 1900-01-01 and, as Lotus had it, 1900 a leap year
_EPOCH_1904: Final = datetime(1904, 1, 1)


def is_date(number: str, code: str) -> str:
    """What a number format shows: "date", "time", "datetime", "percent" or "" for a plain number."""
    if not code:
        return _DATES.get(number, "")
    plain = _LITERAL.sub("", code.split(";")[0]).lower()
    days = bool(re.search(r"[yd]", plain)) or ("m" in plain and not re.search(r"[hs]", plain))
    hours = bool(re.search(r"[hs]", plain))
    if days and "general" not in plain:
        return "datetime" if hours else "date"
    if hours:
        return "time"
    return "percent" if "%" in plain else ""


def shown(raw: str, kind: str, since_1904: bool) -> str:
    value = float(raw)
    if kind == "percent":
        return f"{_plain(value * 100)}%"
    if kind and 0 <= value < 2_958_466:  # 9999-12-31
        moment = (_EPOCH_1904 if since_1904 else _EPOCH) + timedelta(seconds=round(value * 86_400))
        if kind == "date" and moment.time() == moment.min.time():
            return moment.date().isoformat()
        if kind == "time" and value < 1:
            return moment.time().isoformat()
        return moment.isoformat(sep=" ")
    return _plain(value)


def _plain(value: float) -> str:
    """Fifteen digits, as spreadsheets show: 0.1 + 0.2 is 0.3."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.15g}"
