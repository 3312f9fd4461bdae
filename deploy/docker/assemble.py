"""Run in the image's build stage: lay the least that runs Bascule into one folder, which becomes the image.

    python assemble.py VENV TARGET

Copied are the interpreter and its standard library, the virtual environment, the shared libraries that any of them loads (and
what those load), certificates, and for each Debian package a file came from its status record and its copyright: scanners see
what is inside, and the licences travel along. No shell, no package manager, no compiler. Standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

UNUSED_STDLIB = (
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "config-*",
    "site-packages",
)
UNUSED_STDLIB += ("dist-packages", "__pycache__", "_tkinter*", "_test*", "turtle.py", "*.a")
# The C library of onnxruntime (its Python module holds its own copy), and a hub client that only `from_pretrained` would use.
UNUSED_PACKAGES = ("onnxruntime/capi/libonnxruntime.so*", "onnxruntime/transformers", "onnxruntime/tools")
UNUSED_PACKAGES += ("huggingface_hub*", "hf_xet*", "httpx2*", "httpcore2*", "truststore*", "fsspec*", "filelock*")
UNUSED_FILES = re.compile(r"\.(c|cc|cpp|h|hpp|pyx|pxd|pxi|pyi|a)$")
SYSTEM_FILES = ("/etc/nsswitch.conf", "/etc/ld.so.cache", "/etc/os-release", "/etc/ssl/openssl.cnf")
SYSTEM_FILES += ("/etc/ssl/certs/ca-certificates.crt", "/usr/lib/ssl/openssl.cnf", "/usr/lib/ssl/cert.pem")
USER = "bascule:x:10001:10001::/data:/sbin/nologin\n"


def main(venv: Path, target: Path) -> None:
    prune(venv)
    strip(venv)
    for name in ("lib", "lib64", "bin", "sbin"):
        if Path(f"/{name}").is_symlink():
            target.mkdir(exist_ok=True)
            (target / name).symlink_to(os.readlink(f"/{name}"))
    copied = set(interpreter(venv, target))
    shutil.copytree(venv, target / venv.relative_to("/"), symlinks=True)
    for library in libraries(target):
        copied |= set(copy(library, target))
    for name in SYSTEM_FILES:
        if Path(name).exists():
            copied |= set(copy(Path(name), target))
    records(copied, target)
    accounts(target)


def prune(venv: Path) -> None:
    packages = next(venv.glob("lib/python*/site-packages"))
    for pattern in UNUSED_PACKAGES:
        for path in packages.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in sorted(packages.rglob("*"), reverse=True):
        if path.is_dir() and path.name in ("tests", "__pycache__"):
            shutil.rmtree(path)
        elif path.is_file() and UNUSED_FILES.search(path.name):
            path.unlink()


def strip(venv: Path) -> None:
    """Debug sections only; libraries in NAME.libs were rewritten by the wheel's maker and do not survive it."""
    for path in venv.rglob("*.so*"):
        if path.is_file() and ".libs" not in str(path.parent):
            subprocess.run(["strip", "--strip-debug", str(path)], check=True)


def interpreter(venv: Path, target: Path) -> Iterator[Path]:
    """The executable that the environment points at, through every link, and the standard library."""
    yield from copy(Path(os.readlink(venv / "bin/python")), target)
    yield from copy(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}", target)
    stdlib = Path(sysconfig.get_path("stdlib"))
    ignore = shutil.ignore_patterns(*UNUSED_STDLIB)
    shutil.copytree(stdlib, target / stdlib.relative_to("/"), ignore=ignore, ignore_dangling_symlinks=True)
    yield stdlib / "os.py"


def libraries(target: Path) -> Iterator[Path]:
    """What the executables and extensions under `target` load from outside it; each once."""
    binaries = [p for p in target.rglob("*") if p.is_file() and not p.is_symlink() and is_elf(p)]
    seen: set[str] = set()
    for binary in binaries:
        listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout
        for found in re.findall(r"(?:=> )?(/\S+) \(0x", listed):
            if found not in seen and not found.startswith(str(target)):
                seen.add(found)
                yield Path(found)


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def copy(path: Path, target: Path) -> Iterator[Path]:
    """`path` at its real place, with every link on the way to it."""
    place = path.parent.resolve() / path.name
    there = target / place.relative_to("/")
    there.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink():
        if not there.is_symlink():
            there.symlink_to(os.readlink(place))
        yield from copy(place.parent / os.readlink(place), target)
    elif not there.exists():
        shutil.copy2(place, there)
        yield place


def records(copied: set[Path], target: Path) -> None:
    """The status and the copyright of every Debian package that a copied file belongs to."""
    for package in sorted(set(filter(None, map(owner, copied)))):
        status = subprocess.run(["dpkg-query", "-s", package], capture_output=True, text=True, check=True).stdout
        name = package.partition(":")[0]
        record = target / "var/lib/dpkg/status.d" / name
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(status, encoding="utf-8")
        licence = Path("/usr/share/doc") / name / "copyright"
        if licence.exists():
            list(copy(licence, target))


def owner(path: Path) -> str | None:
    """Debian's packages list files by the path from before /lib became a link to /usr/lib."""
    for known in (str(path), str(path).removeprefix("/usr")):
        found = subprocess.run(["dpkg-query", "-S", known], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.split(": ")[0].split(",")[0]
    return None


def accounts(target: Path) -> None:
    (target / "etc").mkdir(exist_ok=True)
    (target / "etc/passwd").write_text("root:x:0:0:root:/:/sbin/nologin\n" + USER)
    (target / "etc/group").write_text("root:x:0:\nbascule:x:10001:\n")
    (target / "tmp").mkdir(mode=0o1777)
    (target / "tmp").chmod(0o1777)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
