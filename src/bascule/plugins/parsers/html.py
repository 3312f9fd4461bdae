"""HTML pages; see `_html`, which e-mails, e-books and site exports use too."""

from __future__ import annotations

from typing import Final

from bascule.core.parsing import Parser
from bascule.plugins.parsers._html import HtmlParser

parser: Final[Parser] = HtmlParser()
