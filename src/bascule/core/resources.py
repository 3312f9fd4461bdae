"""What a plugin may lean on when it connects: handed over by `bootstrap`, so that no plugin opens its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from bascule.core.fetching import Fetcher
from bascule.core.http import HttpClient


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """`http` is the shared upstream client; `data` and `models` are folders; `secret` resolves "env:NAME" or "file:PATH".
    `fetcher` is what gets URLs from outside, for connectors and for providers of images.

    `secret` raises ConfigError naming the reference, never its value.
    """

    http: HttpClient
    data: Path
    models: Path
    secret: Callable[[str], str]
    fetcher: Fetcher | None = None
