"""How the demo looks: panels on a terminal, plain paragraphs anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from bascule.cli.questions import REASONS, place, shorten
from bascule.cli.terminal import printable

WIDTH = 110
QUOTE_CHARS = 220


class Show:
    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self.rich = self.console.is_terminal
        if self.console.width > WIDTH or not self.rich:
            self.console.width = WIDTH
        self.took: list[tuple[str, float]] = []
        self._number = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A numbered heading; its time is kept for the closing table."""
        self._number += 1
        self.console.print()
        if self.rich:
            self.console.print(Rule(f"[bold]{self._number}  {title}[/]", align="left", style="cyan"))
        else:
            self.console.print(f"== {self._number}  {title}", markup=False)
        started_s = time.monotonic()
        yield
        self.took.append((title, time.monotonic() - started_s))

    def say(self, text: str) -> None:
        self.console.print(printable(text), markup=False, soft_wrap=not self.rich)

    def answer(self, who: str, question: str, found: Mapping[str, Any], took_s: float) -> None:
        """One question, who asked it, the answer and its numbered citations; how long it took, HTTP included."""
        refused = found["status"] == "refused"
        head = f"{who} asks: {question}"
        body = self._refusal(found) if refused else self._answered(found)
        if self.rich:
            self.console.print(
                Panel(
                    body,
                    title=Text(head, "bold"),
                    title_align="left",
                    border_style="yellow" if refused else "green",
                    subtitle=Text(f"{1000 * took_s:.0f} ms", "dim"),
                    subtitle_align="right",
                    box=box.ROUNDED,
                    padding=(0, 1),
                )
            )
        else:
            self.say(f"\n{head}  ({1000 * took_s:.0f} ms)")
            self.console.print(body, soft_wrap=True)

    def _refusal(self, found: Mapping[str, Any]) -> Text:
        reason = str(found.get("reason") or "")
        text = Text("Refused", "bold yellow")
        text.append(f" ({reason}): {REASONS.get(reason, 'see bascule explain')}.", "default not bold")
        return text

    def _answered(self, found: Mapping[str, Any]) -> Group:
        parts = [Text(printable(str(found["answer"])))]
        for citation in found["citations"]:
            line = Text(f"\n[{citation['number']}] ", "bold cyan")
            line.append(printable(place(citation)), "bold not cyan")
            line.append(f'\n    "{printable(shorten(str(citation["quote"]), QUOTE_CHARS))}"', "dim not bold")
            parts.append(line)
        return Group(*parts)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(box=box.SIMPLE if self.rich else None, pad_edge=self.rich, header_style="bold")
        for column in columns:
            table.add_column(column)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self.console.print(table)
