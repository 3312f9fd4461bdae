"""What was masked in a request stands as `<EMAIL_1>` for the vendor, and as itself again for the caller.

Names are derived from the request alone (kind, and the order in which the values first stand in it), so that the same request
gives the same masked request: the cache knows it, and callers whose requests differ only in what is masked share an entry that
holds placeholders. The values live in the call and nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from bascule.core.policies import Finding


class Placeholders:
    """Of one call. `values`: placeholder -> what it stands for."""

    __slots__ = ("_avoid", "_counts", "_names", "values")

    def __init__(self, texts: Sequence[str]) -> None:
        self._avoid = [text for text in texts if "_" in text]  # a placeholder may already stand in a text, as text
        self._counts: dict[str, int] = {}
        self._names: dict[tuple[str, str], str] = {}
        self.values: dict[str, str] = {}

    def mask(self, text: str, findings: Sequence[Finding]) -> str:
        """Findings in order and without overlaps."""
        parts, at = [], 0
        for finding in findings:
            parts += [text[at : finding.start], self._name(finding.kind, text[finding.start : finding.end])]
            at = finding.end
        return "".join(parts) + text[at:]

    def _name(self, kind: str, value: str) -> str:
        name = self._names.get((kind, value))
        if name is None:
            name = self._names[(kind, value)] = self._next(kind.upper())
            self.values[name] = value
        return name

    def _next(self, kind: str) -> str:
        while True:
            number = self._counts[kind] = self._counts.get(kind, 0) + 1
            bare = f"{kind}_{number}"
            if not any(bare in text for text in self._avoid):
                return f"<{bare}>"


class Restore:
    """Puts the values back. `in_json`: into a text that is JSON itself, where a vendor may have escaped the brackets."""

    __slots__ = ("_known", "_pattern", "longest")

    def __init__(self, values: dict[str, str], *, in_json: bool) -> None:
        self._known = {}
        for name, value in values.items():
            if not in_json:
                self._known[name] = value
                continue
            escaped = json.dumps(value)[1:-1]
            for written in (name, rf"\u003c{name[1:-1]}\u003e", rf"\u003C{name[1:-1]}\u003E"):
                self._known[written] = escaped
        self._pattern = re.compile("|".join(map(re.escape, self._known)))
        self.longest = max(map(len, self._known))

    def text(self, text: str) -> str:
        return self._pattern.sub(lambda match: self._known[match.group()], text)

    def unfinished(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of a placeholder."""
        for size in range(min(self.longest - 1, len(text)), 0, -1):
            tail = text[-size:]
            if tail[0] in "<\\" and any(len(name) > size and name.startswith(tail) for name in self._known):
                return size
        return 0


class RestoreFilter:
    """TextFilter: a placeholder torn over several pieces is put back whole."""

    __slots__ = ("_held", "_restore")

    def __init__(self, restore: Restore) -> None:
        self._restore = restore
        self._held = ""

    def feed(self, piece: str) -> str:
        text = self._held + piece
        held = self._restore.unfinished(text)
        self._held = text[len(text) - held :]
        return self._restore.text(text[: len(text) - held])

    def end(self) -> str:
        held, self._held = self._held, ""
        return held
