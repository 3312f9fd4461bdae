"""Secrets of the data folder, encrypted under a key that lies elsewhere: AES-256-GCM, the file's name bound in.

A file is replaced whole, by a rename after its bytes are on the disk: whenever the process dies, it is the old one or the new
one, and both open while the keys that were are still named.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from bascule.core.errors import ConfigError
from bascule.core.secret import Secret
from bascule.db.files import write_whole

if TYPE_CHECKING:  # the library is an extra
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC: Final = b"bascule-sealed-1\n"
SHORTEST: Final = 32  # characters of a key: 24 random bytes in base64
_SALT: Final = b"bascule secrets at rest v1"
_MARK_BYTES: Final = 8
_NONCE_BYTES: Final = 12
_HOLDER: Final = ".rotating"
_FRESH: Final = ".sealing-"

Held = Literal["clear", "sealed", "old key", "unreadable"]


class SealKey(msgspec.Struct, frozen=True):
    """`mark` says which key closed a file, and nothing else of it."""

    key: Secret
    mark: bytes

    @classmethod
    def of(cls, given: str, reference: str) -> SealKey:
        """Raises ConfigError for one that is too short to be random."""
        if len(given) < SHORTEST:
            raise ConfigError(
                f"The key of {reference!r} has fewer than {SHORTEST} characters. Make one: openssl rand -base64 32"
            )
        return cls(
            Secret(given), hashlib.blake2b(given.encode(), digest_size=_MARK_BYTES, person=b"bascule.seal").digest()
        )


class Seal:
    """`key` None: secrets are kept in clear. `old` are keys that secrets may still be closed by."""

    def __init__(self, key: SealKey | None = None, old: Sequence[SealKey] = ()) -> None:
        self._key = key
        self._old = tuple(old)

    @property
    def closes(self) -> bool:
        return self._key is not None

    def closed(self, name: str, secret: bytes) -> bytes:
        """What is kept of it."""
        if self._key is None:
            return secret
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return MAGIC + self._key.mark + nonce + _cipher(self._key).encrypt(nonce, secret, name.encode())

    def opened(self, name: str, kept: bytes) -> bytes:
        """Raises ConfigError for one that none of the keys opens, or that was changed."""
        if not kept.startswith(MAGIC):
            return kept
        mark, nonce, body = _parts(kept)
        for key in (self._key, *self._old):
            if key is not None and key.mark == mark:
                from cryptography.exceptions import InvalidTag

                try:
                    return _cipher(key).decrypt(nonce, body, name.encode())
                except InvalidTag:
                    break
        raise ConfigError(
            f"The secret {name} in the data folder does not open. Name the key it was encrypted with: secrets.key, or one of"
            " secrets.old_keys."
        )

    def held(self, name: str, kept: bytes) -> Held:
        """How it is kept."""
        if not kept.startswith(MAGIC):
            return "clear"
        try:
            self.opened(name, kept)
        except ConfigError:
            return "unreadable"
        return "sealed" if self._key is not None and _parts(kept)[0] == self._key.mark else "old key"


def read_secret(folder: Path, name: str, seal: Seal) -> bytes:
    """Raises ConfigError."""
    return seal.opened(name, (folder / name).read_bytes())


def secret_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.key") if path.is_file() and not path.name.startswith("."))


def reseal(folder: Path, seal: Seal) -> Iterator[tuple[str, Held]]:
    """Bring every secret under the key of now, one after the other: its name, and how it was kept. What is there already is left
    as it is, so that one goes on where one was broken off. Raises ConfigError before anything is changed when one does not open,
    or another run is at it."""
    with _alone(folder):
        for left in folder.glob(_FRESH + "*"):  # of a run that was killed
            left.unlink()
        names = secret_names(folder)
        opened = {name: read_secret(folder, name, seal) for name in names}
        wanted: Held = "sealed" if seal.closes else "clear"
        for name in names:
            held = seal.held(name, (folder / name).read_bytes())
            if held != wanted:
                write_whole(folder / name, seal.closed(name, opened[name]), fresh=folder / f"{_FRESH}{name}")
            yield name, held


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One at a time; the lock goes with its process. Raises ConfigError that says whose it is."""
    at, holder = os.open(folder, os.O_RDONLY), folder / _HOLDER
    try:
        try:
            fcntl.flock(at, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            whose = holder.read_text("ascii") if holder.exists() else "unknown"
            text = f"Another `bascule secrets rotate` (process {whose}) works on {folder}."
            raise ConfigError(f"{text} Wait for it or end it, and run this again.") from None
        holder.write_text(str(os.getpid()), "ascii")
        try:
            yield
        finally:
            holder.unlink()
    finally:
        os.close(at)


def _parts(kept: bytes) -> tuple[bytes, bytes, bytes]:
    rest = kept[len(MAGIC) :]
    return rest[:_MARK_BYTES], rest[_MARK_BYTES : _MARK_BYTES + _NONCE_BYTES], rest[_MARK_BYTES + _NONCE_BYTES :]


def _cipher(key: SealKey) -> AESGCM:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError:
        raise ConfigError("secrets.key needs a library: pip install 'bascule[seal]'") from None
    return AESGCM(HKDF(SHA256(), 32, _SALT, b"files").derive(key.key.encode()))
