"""Bascule: the layer between an application and large language models. `from bascule import Gateway` is the gateway in process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bascule.bootstrap.library import AsyncGateway, Gateway

__all__ = ["AsyncGateway", "Gateway"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: the command line's help and a parsing child need nothing of it.
    if name in __all__:
        from bascule.bootstrap import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
