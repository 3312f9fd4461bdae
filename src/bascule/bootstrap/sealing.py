"""The key that the data folder's secrets are encrypted with, from its reference."""

from __future__ import annotations

from pathlib import Path

from bascule.bootstrap.plugins import secret
from bascule.core.errors import ConfigError
from bascule.db.sealing import Seal, SealKey
from bascule.settings import Settings


def open_seal(settings: Settings) -> Seal:
    """Raises ConfigError for a reference that leads nowhere, a key within the folder it is to guard, or one that is too short."""
    wanted = settings.secrets
    for reference in (wanted.key, *wanted.old_keys):
        _refuse_within(settings, reference)
    key = SealKey.of(secret(wanted.key), wanted.key) if wanted.key else None
    return Seal(key, [SealKey.of(secret(reference), reference) for reference in wanted.old_keys])


def _refuse_within(settings: Settings, reference: str) -> None:
    if reference.startswith("file:"):
        path = Path(reference.removeprefix("file:")).resolve()
        if path.is_relative_to(settings.data.resolve()):
            raise ConfigError(
                f"{reference!r} lies in the data folder: whoever reads the folder would have the key with it."
            )
