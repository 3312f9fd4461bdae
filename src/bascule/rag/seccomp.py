"""A seccomp filter without a library: system calls a parser never needs fail with EPERM (Linux, x86_64 and aarch64).

A list of what is denied, not of what is allowed: parsers load native libraries whose calls differ from system to system,
and a call missing from an allow-list would turn good documents into crashes. Denied is all that reaches out of the
process: sockets (io_uring too, which could open one), new processes, signals to others, tracing, namespaces, kernel surface.

Numbers from the kernel's `syscall_64.tbl` and `asm-generic/unistd.h`; the filter's form from `seccomp(2)`.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from typing import Final

_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2

_LD_W_ABS, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_EPERM, _ENOSYS = 1, 38
_OFFSET_NR, _OFFSET_ARCH, _OFFSET_ARG0 = 0, 4, 16
_X32_BIT: Final = 0x40000000
_CLONE_THREAD: Final = 0x00010000

# name: (x86_64, aarch64); None where the architecture has no such call
_DENIED: Final[dict[str, tuple[int | None, int]]] = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "recvfrom": (45, 207), "recvmsg": (47, 212), "recvmmsg": (299, 243),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117), "kill": (62, 129), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "init_module": (175, 105),
    "finit_module": (313, 273), "kexec_load": (246, 104), "memfd_create": (319, 279), "msgget": (68, 186),
    "shmget": (29, 194), "semget": (64, 190), "mq_open": (240, 180), "fsopen": (430, 430), "open_tree": (428, 428),
}  # fmt: skip
_FORKS: Final[tuple[int | None, ...]] = (57, 58)  # fork, vfork: x86_64 alone has them
_CLONE, _CLONE3, _TGKILL, _PRLIMIT = (56, 220), (435, 435), (234, 131), (302, 261)
_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(libc: ctypes.CDLL) -> str:
    """Filter this process and all its threads to come. Needs no-new-privileges. Returns "applied" or why not."""
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if machine not in _AUDIT_ARCH:
        return f"not available on {machine}; the parser could reach the network"
    code = _program(machine)
    program = _Program(len(code) // 8, code)
    arguments = (ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(program), ctypes.c_ulong(0), ctypes.c_ulong(0))
    if libc.prctl(_PR_SET_SECCOMP, *arguments) != 0:
        return f"refused by the kernel: {os.strerror(ctypes.get_errno())}"
    return "applied"


def _program(machine: str) -> bytes:
    column = 0 if machine == "x86_64" else 1
    code = _load(_OFFSET_ARCH)
    code += _jump(_JEQ, _AUDIT_ARCH[machine], 1, 0) + _return(_KILL_PROCESS)
    code += _load(_OFFSET_NR)
    if column == 0:
        code += _jump(_JGE, _X32_BIT, 0, 1) + _return(_KILL_PROCESS)
    denied = [numbers[column] for numbers in _DENIED.values()] + list(_FORKS if column == 0 else ())
    for number in denied:
        if number is not None:
            code += _jump(_JEQ, number, 0, 1) + _return(_ERRNO | _EPERM)
    # glibc falls back from clone3, whose flags a filter cannot read, to clone, whose flags it can
    code += _jump(_JEQ, _CLONE3[column], 0, 1) + _return(_ERRNO | _ENOSYS)
    code += _allowed_if(_CLONE[column], _JSET, _CLONE_THREAD)
    code += _allowed_if(_PRLIMIT[column], _JEQ, 0)
    code += _allowed_if(_TGKILL[column], _JEQ, os.getpid())  # abort() signals its own process
    return code + _return(_ALLOW)


def _allowed_if(number: int, test: int, value: int) -> bytes:
    """Call `number` is allowed when its first argument passes the test, and denied otherwise."""
    body = _load(_OFFSET_ARG0) + _jump(test, value, 0, 1) + _return(_ALLOW) + _return(_ERRNO | _EPERM)
    return _jump(_JEQ, number, 0, len(body) // 8) + body


def _load(offset: int) -> bytes:
    return struct.pack("=HBBI", _LD_W_ABS, 0, 0, offset)


def _jump(test: int, value: int, when_true: int, when_false: int) -> bytes:
    return struct.pack("=HBBI", test, when_true, when_false, value)


def _return(value: int) -> bytes:
    return struct.pack("=HBBI", _RET, 0, 0, value)
