"""Is this data folder in order? Reads only; calls no provider."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

import msgspec

from bascule.core.catalogue import Work
from bascule.core.errors import StorageError
from bascule.core.ids import chunk_of
from bascule.core.state import StateStore
from bascule.core.vectors import VectorStore
from bascule.db.sealing import Seal, secret_names

if TYPE_CHECKING:
    from bascule.db.wall import WallState
    from bascule.settings import Settings

State = Literal["ok", "warn", "fail"]
LOW_DISK_BYTES: Final = 1_000_000_000
FULL_DISK_BYTES: Final = 100_000_000
ORPHAN_AGE_S: Final = 3600.0  # younger ones may belong to a request that is being accepted
SHOWN: Final = 3


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the report: `fix` says what to do, "" when nothing needs doing."""

    name: str
    state: State
    text: str
    fix: str = ""


class BlobNames(Protocol):
    async def names(self) -> list[tuple[str, float]]: ...


def folder(data: Path) -> Iterator[Finding]:
    """Rights of the data folder and of every secret in it, and free disk space."""
    open_to_others = [path for path in (data, *_private(data)) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_to_others:
        names = " ".join(str(path) for path in open_to_others[:SHOWN])
        yield Finding(name="rights", state="fail", text="others can read the data folder", fix=f"chmod go-rwx {names}")
    else:
        yield Finding(name="rights", state="ok", text="only this user can read the data folder")
    if data.stat().st_uid != os.geteuid():
        yield Finding(
            name="owner", state="warn", text="the data folder belongs to another user", fix="run as the folder's owner"
        )
    yield _disk(shutil.disk_usage(data).free)


def sealed(data: Path, seal: Seal) -> Finding:
    """How the secrets of the folder are kept, and whether they open."""
    secrets = data / "secrets"
    held = [seal.held(name, (secrets / name).read_bytes()) for name in secret_names(secrets)]
    if "unreadable" in held:
        text = f"{held.count('unreadable')} of {len(held)} secrets do not open with secrets.key or secrets.old_keys"
        return Finding(name="secrets", state="fail", text=text, fix="name the key they were encrypted with")
    if "old key" in held or (seal.closes and "clear" in held):
        text = "secrets are not all encrypted with secrets.key"
        return Finding(name="secrets", state="warn", text=text, fix="bascule secrets rotate")
    if not seal.closes:
        return Finding(name="secrets", state="ok", text="secrets stand in clear, for this user only")
    return Finding(name="secrets", state="ok", text=f"{len(held)} secrets encrypted with secrets.key")


def _private(data: Path) -> Iterable[Path]:
    secrets = data / "secrets"
    return (secrets, *secrets.iterdir()) if secrets.is_dir() else ()


def _disk(free_bytes: int) -> Finding:
    text = f"{free_bytes / 1e9:.1f} GB free"
    if free_bytes < FULL_DISK_BYTES:
        return Finding(name="disk", state="fail", text=text, fix="free some space: documents can no longer be stored")
    if free_bytes < LOW_DISK_BYTES:
        return Finding(name="disk", state="warn", text=text, fix="free some space before the next large ingest")
    return Finding(name="disk", state="ok", text=text)


def model(settings: Settings) -> Finding:
    """Whether the built-in embedding model is here and whole, where the configuration wants it."""
    from bascule.ops.models import check

    wanted = settings.rag.embedding_model
    if not settings.rag.enabled or wanted != "minilm" or wanted in settings.models:
        return Finding(name="model", state="ok", text="the built-in embedding model is not used")
    found = check(settings.models_path)
    if found.state == "ready":
        return Finding(name="model", state="ok", text=f"embedding model whole ({found.fingerprint})")
    state: State = "warn" if found.state == "missing" else "fail"
    return Finding(
        name="model", state=state, text=f"embedding model {found.state}: search is by words only", fix=found.problem
    )


def confinement() -> Finding:
    """What the kernel enforces on the processes that parse untrusted files."""
    from bascule.rag.child_process import confinement as enforced

    try:
        held = enforced()
    except (OSError, subprocess.SubprocessError) as error:
        text = f"the parsing process cannot be started ({type(error).__name__})"  # their own words hold paths
        return Finding(name="parsers", state="fail", text=text, fix="run: python -m bascule.child --report")
    lacking = {name: why for name, why in held.items() if why != "applied"}
    if not lacking:
        return Finding(name="parsers", state="ok", text=f"the kernel confines parsers: {', '.join(sorted(held))}")
    return Finding(
        name="parsers",
        state="warn",
        text="parsers are not confined in " + ", ".join(f"{name} ({why})" for name, why in sorted(lacking.items())),
        fix="take in only files you trust, or run on Linux 5.13 or newer with seccomp and Landlock",
    )


def recognition(settings: Settings) -> Finding:
    """Whether text in images and scanned pages is read."""
    if not settings.rag.enabled or not settings.rag.ocr:
        return Finding(name="ocr", state="ok", text="text in pictures is not recognised: switched off")
    if find_spec("rapidocr") is None:
        return Finding(
            name="ocr", state="ok", text="text in pictures is not recognised: the extra ocr is not installed"
        )
    return Finding(name="ocr", state="ok", text="text in images and scanned pages is recognised")


async def agreement(work: Work, store: VectorStore, tenants: Iterable[str]) -> list[Finding]:
    """The index holds exactly the chunks that the catalogue says are live; what is still on its way is no fault."""
    waiting = len(await work.index_changes(10_000))
    missing = extra = total = 0
    for tenant in sorted(tenants):
        live, held = await work.live_chunk_ids(tenant), await store.chunk_ids(tenant)
        missing += len(await work.live_point_ids(tenant) - held)
        # Of a live chunk there may be points of other generations: of one being built, of one being cleared away.
        extra, total = extra + sum(chunk_of(point) not in live for point in held), total + len(live)
    if not missing and not extra:
        return [Finding(name="index", state="ok", text=f"catalogue and index agree on {total:,} chunks")]
    text = f"of {total:,} chunks {missing:,} are missing from the index and {extra:,} are there that should not be"
    if waiting:
        fix = "a running server or `bascule ingest` will finish it"
        return [Finding(name="index", state="warn", text=f"{text}; {waiting:,} changes wait", fix=fix)]
    fix = "start the server: what is missing is put in again from the catalogue; if that does not help, stop it, remove"
    fix += " index.sqlite* and vectors-* from the data folder and start it again"
    return [Finding(name="index", state="fail", text=text, fix=fix)]


def wall(state: WallState) -> list[Finding]:
    """Whether row-level security of Postgres stands behind the catalogue's own checks."""
    if state == "none":
        return []
    if state == "stands":
        return [Finding(name="wall", state="ok", text="row-level security is in force for questions and lists")]
    if state == "superuser":
        fix = "let catalogue.url log in as a role that is no superuser, has no BYPASSRLS and owns the tables"
        text = "the login is above row-level security: reads lay its rights down, and nothing holds it to that"
        return [Finding(name="wall", state="warn", text=text, fix=fix)]
    fix = "as a superuser: CREATE ROLE bascule_reader NOLOGIN; GRANT bascule_reader TO (the login in catalogue.url);"
    text = "row-level security is not in force: the queries alone keep tenants and rights apart"
    return [Finding(name="wall", state="warn", text=text, fix=fix + " then start the server again")]


async def shared_state(store: StateStore) -> list[Finding]:
    """Whether the state store answers, where it is one that servers share."""
    if not store.shared:
        return []
    try:
        await store.get("doctor")
    except StorageError:
        fix = (
            "Valkey: start it, or correct [state_store]; until then each server keeps to its own share of the limits. "
            "SQLite: see that its disk is there, writable and not full; until then calls with limits are refused"
        )
        return [Finding(name="state", state="warn", text="the shared state store does not answer", fix=fix)]
    return [Finding(name="state", state="ok", text="the shared state store answers")]


async def orphans(work: Work, blobs: BlobNames) -> Finding:
    """Stored bytes that no document needs, and documents whose bytes are gone."""
    live = await work.live_blobs()
    names = await blobs.names()
    held = {name for name, _ in names}
    old = [name for name, age_s in names if name not in live and age_s > ORPHAN_AGE_S]
    lost = live - held
    if lost:
        return Finding(
            name="blobs",
            state="fail",
            text=f"{len(lost):,} documents have lost their stored bytes",
            fix="restore the blobs folder from a backup, or ingest those documents again",
        )
    if old:
        return Finding(
            name="blobs",
            state="warn",
            text=f"{len(old):,} stored files belong to no document",
            fix="they take space and nothing else; the next start of the server sweeps them",
        )
    return Finding(name="blobs", state="ok", text=f"{len(held):,} stored files, all accounted for")


def worst(findings: Iterable[Finding]) -> State:
    """The most serious state of all; "ok" for none."""
    order: tuple[State, ...] = ("ok", "warn", "fail")
    return max((finding.state for finding in findings), key=order.index, default="ok")
