"""What a command prints: one JSON document, tables for a person, or tab-separated lines for a pipe.

Results go to stdout, everything else (progress, notes, errors) to stderr. Rich honours NO_COLOR and drops colour when the
stream is no terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bascule.cli.terminal import inert, json_safe, printable


class Output:
    """`json_mode`: only `document` reaches stdout."""

    def __init__(self, json_mode: bool = False) -> None:
        self.json_mode = json_mode
        self.out = Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())
        self.err = Console(file=sys.stderr, highlight=False, soft_wrap=not sys.stderr.isatty())

    def document(self, value: Any) -> None:
        """The one JSON document of `--json`."""
        sys.stdout.write(json_safe(json.dumps(value, ensure_ascii=False, indent=2, default=_plain)) + "\n")
        sys.stdout.flush()

    def say(self, text: str, *, markup: bool = False) -> None:
        if not self.json_mode:
            self.out.print(printable(text), markup=markup)

    def note(self, text: str) -> None:
        self.err.print(printable(text), markup=False)

    def problem(self, text: str) -> None:
        self.err.print(f"[bold red]error:[/] {escape(printable(text))}")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
        """A table on a terminal; header and tab-separated lines otherwise."""
        if self.json_mode:
            return
        cells = [[_cell(value) for value in row] for row in rows]
        if not self.out.is_terminal:
            for line in [list(columns), *cells]:
                self.out.file.write("\t".join(map(inert, line)) + "\n")  # rich would turn tabs into spaces
            return
        if not cells:
            self.note(empty)
            return
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold", no_wrap=column in ("id", "state"))
        for line in cells:
            table.add_row(*map(escape, line))
        self.out.print(table)

    def fields(self, pairs: Iterable[tuple[str, object]]) -> None:
        """`name  value` lines, empty values left out."""
        shown = [(name, _cell(value)) for name, value in pairs]
        width = max((len(name) for name, value in shown if value), default=0)
        for name, value in shown:
            if value:
                self.say(f"{name:<{width}}  {value}")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return printable(", ".join(f"{k} {v}" for k, v in value.items()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return printable(", ".join(map(str, sorted(value, key=str) if isinstance(value, (set, frozenset)) else value)))
    return " ".join(printable(str(value)).split())


def _plain(value: object) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return str(value)
