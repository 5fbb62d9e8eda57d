"""File systems that grant the locks of `ddim_jax.runtime.locks` to each host by itself, found in Linux's mounts.

On these a lock holds among the processes of one host; those of another host get it as well, and nobody is refused.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(rb"\\([0-7]{3})")  # blanks, tabs, newlines and backslashes of names


class Mount(NamedTuple):
    """One line of mountinfo (proc_pid_mountinfo(5)).

    Attributes:
      point: where it is mounted.
      kind: of file system, such as ext4, nfs4 or fuse.gcsfuse.
      options: of the file system, such as rw or local_lock=all.
    """

    point: str
    kind: str
    options: frozenset[str]


def find_mount(path: str | os.PathLike, mountinfo: bytes) -> Mount | None:
    """The mount that a path lies on, whether or not it is there yet; None if no line is above it.

    Args:
      path: symbolic links in it are followed.
      mountinfo: as the system writes it. Of mounts in one place the last hides the others.
    """
    path = os.path.join(os.path.realpath(path), "")
    found = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(b" - ")  # of a varying number of fields, and of three
        mounted, about = before.split(b" "), after.split(b" ")
        if len(mounted) < 6 or len(about) < 3:
            continue
        point, kind = (os.fsdecode(_ESCAPED.sub(_character, text)) for text in (mounted[4], about[0]))
        if path.startswith(os.path.join(point, "")) and (found is None or len(point) >= len(found.point)):
            found = Mount(point, kind, frozenset(os.fsdecode(about[2]).split(",")))
    return found


def has_locks_of_one_host(mount: Mount) -> bool:
    """True if a lock there may be unknown to other hosts.

    So it is with FUSE, where the kernel answers for a program that has no locks itself, and whether it has is not told;
    with Lustre mounted with `localflock`, and NFS with `local_lock=flock` or `all` (`nolock` implies that).
    """
    if mount.kind == "fuse" or mount.kind.startswith("fuse."):
        return True
    if mount.kind == "lustre":
        return "localflock" in mount.options
    return mount.kind in ("nfs", "nfs4") and not mount.options.isdisjoint({"local_lock=flock", "local_lock=all"})


def locks_of_one_host(path: str | os.PathLike) -> Mount | None:
    """The mount that a path lies on if `has_locks_of_one_host`; None if not, or where the system tells of no mounts."""
    try:
        mountinfo = _MOUNTS.read_bytes()
    except OSError:
        return None
    mount = find_mount(path, mountinfo)
    return mount if mount is not None and has_locks_of_one_host(mount) else None


def _character(escaped: re.Match[bytes]) -> bytes:
    return bytes([int(escaped[1], 8)])
