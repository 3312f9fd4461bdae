"""Where SQLite must not live: its locks and shared memory are wrong on network file systems."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bascule.core.errors import ConfigError

_PLAIN: Final = "nfs nfs4 cifs smb smb2 smb3 smbfs afs ceph glusterfs lustre gpfs beegfs ocfs2 gfs2 davfs ncpfs"
_FUSE: Final = "sshfs glusterfs ceph s3fs rclone gcsfuse blobfuse blobfuse2 davfs"
NETWORK: Final = frozenset([*_PLAIN.split(" "), *(f"fuse.{name}" for name in _FUSE.split(" "))])
MOUNTS: Final = Path("/proc/self/mountinfo")


def file_system_of(path: Path, mountinfo: str) -> str:
    """The type of the file system that holds `path`, from Linux's mountinfo text; "" when it cannot be told."""
    best, kind = "", ""
    target = str(path)
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        mount = fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, right.split(" ", 1)[0]
    return kind


def refuse_network_folder(folder: Path, mounts: Path = MOUNTS) -> None:
    """Raises ConfigError when `folder` lies on a network file system and this can be told."""
    try:
        kind = file_system_of(folder.resolve(), mounts.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return
    if kind in NETWORK:
        raise ConfigError(
            f"The data folder is on a network file system ({kind}), where SQLite loses data. "
            "Use a local disk for `data`, or a Postgres catalogue (`[catalogue] url`)."
        )
