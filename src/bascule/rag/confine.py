"""Takes away from a process what a parser does not need: network, other processes, files, memory, time.

Meant for a child process that is about to read untrusted bytes (law 9); nothing here can be undone afterwards. Each
measure is tried on its own and its outcome reported, so that `doctor` can say what this kernel does not offer.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from bascule.rag import seccomp

APPLIED: Final = "applied"

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_LANDLOCK: Final = {"create": 444, "add": 445, "restrict": 446}  # one number on every architecture
_LANDLOCK_RULE_PATH_BENEATH: Final = 1
_LANDLOCK_VERSION: Final = 1
_FS_EXECUTE, _FS_READ_FILE, _FS_READ_DIR = 1 << 0, 1 << 2, 1 << 3
_FS_RIGHTS_BY_ABI: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}


_OUTER: Final = 20  # times `wall_s`


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """`memory_bytes` is address space, `cpu_s` processor time for one document. `wall_s` is how long the process may do nothing:
    one that waits its turn on a busy machine is not to blame. It is at work for no more than `outer_s`, whatever it does."""

    memory_bytes: int = 1_000_000_000
    cpu_s: int = 30
    wall_s: float = 60.0
    open_files: int = 32

    @property
    def outer_s(self) -> float:
        return _OUTER * self.wall_s


class OcrLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a document may take once text in its pictures is recognised, in place of its `Limits`; of `pages` at most."""

    memory_bytes: int = 2_500_000_000
    cpu_s: int = 600
    wall_s: float = 900.0
    pages: int = 50


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def confine(limits: Limits, ocr: OcrLimits | None = None) -> dict[str, str]:
    """Apply every measure; returns measure -> "applied" or why not. Never raises for a measure this system lacks.

    With `ocr`, memory may be raised to its limit later (`allow_memory`), and no further.
    """
    sys.dont_write_bytecode = True  # nothing can be written any more, and trying costs time at each import
    report = _set_rlimits(limits, max(limits.memory_bytes, ocr.memory_bytes if ocr else 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if platform.system() != "Linux":
        missing = f"not available on {platform.system()}"
        return report | {"no_new_privileges": missing, "files": missing, "network": missing}
    report["no_new_privileges"] = _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    report["not_traceable"] = _prctl(libc, _PR_SET_DUMPABLE, 0)
    report["files"] = _restrict_files(libc, _readable())
    report["network"] = seccomp.install(libc)
    return report


def allow_cpu(cpu_s: int) -> None:
    """Give this process `cpu_s` more seconds of processor time than it has used; then the kernel ends it (SIGXCPU)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def allow_memory(memory_bytes: int) -> None:
    """Give this process as much address space; by `confine` it has some left to be given."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes if hard < 0 else min(memory_bytes, hard), hard))


def _set_rlimits(limits: Limits, most_memory_bytes: int) -> dict[str, str]:
    wanted = {
        "memory": (resource.RLIMIT_AS, limits.memory_bytes, most_memory_bytes),
        "file_writes": (resource.RLIMIT_FSIZE, 0, 0),
        "open_files": (resource.RLIMIT_NOFILE, limits.open_files, limits.open_files),
        "core_dumps": (resource.RLIMIT_CORE, 0, 0),
    }
    report = {name: _lower(*limit) for name, limit in wanted.items()}
    try:
        allow_cpu(limits.cpu_s)
    except (OSError, ValueError) as error:
        return report | {"cpu": f"refused by the system: {error}"}
    return report | {"cpu": APPLIED}


def _lower(kind: int, soft: int, hard: int) -> str:
    try:
        resource.setrlimit(kind, (soft, hard))
    except (OSError, ValueError) as error:
        return f"refused by the system: {error}"
    return APPLIED


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> str:
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        return f"refused by the kernel: {os.strerror(ctypes.get_errno())}"
    return APPLIED


def _readable() -> list[Path]:
    """Where code lies: the standard library, what is importable, the system's libraries. Documents and secrets do not."""
    paths = sysconfig.get_paths()
    code = [paths["stdlib"], paths["platstdlib"], *sys.path, str(Path(__file__).parent.parent)]
    system = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo", "/dev/null", "/dev/urandom"]
    found = {Path(path).resolve() for path in [*code, *system] if path and Path(path).exists()}
    return sorted(found - {Path("/"), Path("/usr"), Path("/usr/local"), Path.home()})


def _restrict_files(libc: ctypes.CDLL, readable: Iterable[Path]) -> str:
    """Landlock (Linux 5.13 and later): reading only beneath `readable`, writing nowhere, executing nothing."""
    abi = libc.syscall(_LANDLOCK["create"], None, ctypes.c_size_t(0), ctypes.c_uint32(_LANDLOCK_VERSION))
    if abi < 1:
        return "not offered by this kernel (Landlock needs Linux 5.13); the parser can read what the service can read"
    handled = _FS_RIGHTS_BY_ABI[min(abi, 5)]
    attributes = _RulesetAttr(handled)
    ruleset = libc.syscall(
        _LANDLOCK["create"], ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)), ctypes.c_uint32(0)
    )
    if ruleset < 0:
        return f"refused by the kernel: {os.strerror(ctypes.get_errno())}"
    try:
        for path in readable:
            _allow_reading(libc, ruleset, path)
        if libc.syscall(_LANDLOCK["restrict"], ctypes.c_int(ruleset), ctypes.c_uint32(0)) != 0:
            return f"refused by the kernel: {os.strerror(ctypes.get_errno())}"
    finally:
        os.close(ruleset)
    return APPLIED


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: Path) -> None:
    rights = _FS_READ_FILE | _FS_READ_DIR if path.is_dir() else _FS_READ_FILE
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _PathBeneathAttr(rights, parent)
        libc.syscall(
            _LANDLOCK["add"],
            ctypes.c_int(ruleset),
            ctypes.c_int(_LANDLOCK_RULE_PATH_BENEATH),
            ctypes.byref(rule),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(parent)
