"""Real documents that every interpreter carries: the language reference's topics and the help text of well-known modules."""

from __future__ import annotations

import importlib
import inspect
import pydoc
import re
import warnings
from collections.abc import Iterator
from typing import Any, Final

from bascule.core.connectors import SourceItem

BUDGET_BYTES: Final = 1_200_000
# The best known first: what does not fit into the budget is left out.
MODULES: Final = (
    *(
        "pathlib",
        "json",
        "re",
        "datetime",
        "collections",
        "itertools",
        "functools",
        "argparse",
        "csv",
        "random",
        "math",
    ),
    *("shutil", "tempfile", "zipfile", "time", "os.path", "glob", "contextlib", "dataclasses", "statistics", "string"),
    *(
        "textwrap",
        "hashlib",
        "secrets",
        "uuid",
        "base64",
        "struct",
        "heapq",
        "bisect",
        "copy",
        "pprint",
        "enum",
        "queue",
    ),
    *("subprocess", "threading", "concurrent.futures", "sqlite3", "configparser", "html", "urllib.parse", "fractions"),
    *("decimal", "io", "operator", "logging", "unittest.mock", "typing", "asyncio", "socket", "email.message"),
)
MEMBER_BYTES: Final = 40_000  # longer help repeats inherited methods more than it says
_GUTTER: Final = re.compile(r"^ \|  ?", re.MULTILINE)
_INHERITED: Final = re.compile(
    r"^-{20,}\n(?:Methods|Data descriptors|Data and other attributes|Class methods|Static methods"
    r"|Readonly properties) inherited from .*?(?=^-{20,}\n|\Z)",
    re.MULTILINE | re.DOTALL,
)
_PLAIN: Final[Any] = vars(pydoc)["plaintext"]  # the type stubs lack it
_BOLD: Final = re.compile(r".\x08")


def python_docs(budget_bytes: int = BUDGET_BYTES) -> Iterator[SourceItem]:
    """Topics, then modules, at most `budget_bytes` of text together."""
    left = budget_bytes
    for item in (*_topics(), *_modules()):
        if len(item.data) <= left:
            left -= len(item.data)
            yield item


def _topics() -> Iterator[SourceItem]:
    from pydoc_data.topics import topics

    for name, text in sorted(topics.items()):
        first = next((line.strip() for line in text.splitlines() if line.strip()), name)
        yield _item(f"topics/{name}", _plain_title(first), text)


def _plain_title(line: str) -> str:
    return re.sub(r'["`*]', "", line)[:120]


def _modules() -> Iterator[SourceItem]:
    for name in MODULES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                module = importlib.import_module(name)
            except ImportError:  # an interpreter built without it
                continue
            yield from _module(name, module)


def _module(name: str, module: Any) -> Iterator[SourceItem]:
    """One document for the module and its functions, and one for each public class that is no exception."""
    functions = []
    for member in sorted(_public(module)):
        value = getattr(module, member, None)
        if inspect.isclass(value):
            if not issubclass(value, BaseException) and (text := _help(value)):
                yield _item(f"modules/{name}.{member}", f"{name}.{member}", text)
        elif inspect.isroutine(value) and (text := _help(value)):
            functions.append(text)
    overview = f"The module {name}\n\n{inspect.getdoc(module) or ''}\n\n" + "\n\n".join(functions)
    if len(overview) > len(name) + 20:
        yield _item(f"modules/{name}", f"{name} (module)", overview)


def _public(module: Any) -> list[str]:
    named = getattr(module, "__all__", None)
    return list(named) if named is not None else [n for n in vars(module) if not n.startswith("_")]


def _help(value: Any) -> str:
    """`help(value)` as plain text without its gutter and what it inherits; "" when there is nothing to say."""
    if not inspect.getdoc(value):
        return ""
    text = _GUTTER.sub("", _BOLD.sub("", pydoc.plain(pydoc.render_doc(value, title="%s", renderer=_PLAIN))))
    text = _INHERITED.sub("", text).strip()
    return text if len(text) <= MEMBER_BYTES else ""


def _item(path: str, title: str, text: str) -> SourceItem:
    name = path.rpartition("/")[2] + ".txt"
    return SourceItem(
        external_id=path, name=name, data=text.encode(), title=title, media_type="text/plain", metadata={"path": path}
    )
