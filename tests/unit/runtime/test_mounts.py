"""Mounts by made-up texts of the system, and which of them have locks of one host."""

import pytest

from ddim_jax.runtime import mounts
from ddim_jax.runtime.mounts import Mount, find_mount, has_locks_of_one_host, locks_of_one_host

INFO = rb"""21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 21 0:40 / /mnt/bucket rw,nosuid shared:7 master:2 - fuse.gcsfuse bucket rw,user_id=0,group_id=0
31 21 0:41 / /mnt/with\040blank\134 rw - nfs4 server:/a rw,vers=4.2,local_lock=none,addr=10.0.0.1
32 21 0:42 /sub /mnt/bucket/below rw - xfs /dev/sdb rw
33 21 0:43 / /mnt/twice rw - ext4 /dev/sdc rw
34 33 0:44 / /mnt/twice rw - lustre mgs@tcp:/fs rw,localflock
35 21 0:45 / /mnt/gr\303\266\303\237e rw - fuse none rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "point", "kind"),
    [
        ("/home/a", "/", "ext4"),
        ("/", "/", "ext4"),
        ("/mnt", "/", "ext4"),
        ("/mnt/bucket", "/mnt/bucket", "fuse.gcsfuse"),
        ("/mnt/bucket/not/there/yet", "/mnt/bucket", "fuse.gcsfuse"),
        ("/mnt/buckets/a", "/", "ext4"),
        ("/mnt/bucket/../bucket/below/a", "/mnt/bucket/below", "xfs"),
        ("/mnt/with blank\\/a", "/mnt/with blank\\", "nfs4"),
        ("/mnt/twice/a", "/mnt/twice", "lustre"),
        ("/mnt/größe/a", "/mnt/größe", "fuse"),
    ],
)
def test_a_path_lies_on_the_mount_nearest_above_it(path, point, kind):
    found = find_mount(path, INFO)
    assert (found.point, found.kind) == (point, kind)


def test_links_are_followed_and_nothing_is_no_mount(tmp_path):
    (tmp_path / "link").symlink_to("/mnt/bucket")
    assert find_mount(tmp_path / "link/out", INFO).kind == "fuse.gcsfuse"
    assert find_mount("/a", b"") is None and find_mount("/a", INFO.replace(b" / / ", b" / /b ")) is None


@pytest.mark.parametrize(
    ("kind", "options", "alone"),
    [
        ("fuse.s3fs", "rw", True),
        ("fuse", "rw", True),
        ("fuseblk", "rw", False),  # a disk of this host
        ("fusectl", "rw", False),
        ("lustre", "rw,localflock", True),
        ("lustre", "rw,flock", False),
        ("nfs4", "rw,local_lock=none", False),
        ("nfs", "rw,nolock,local_lock=all", True),
        ("nfs", "rw,local_lock=flock", True),
        ("nfs", "rw,local_lock=posix", False),
        ("ext4", "rw", False),
    ],
)
def test_which_have_locks_of_one_host(kind, options, alone):
    assert has_locks_of_one_host(Mount("/a", kind, frozenset(options.split(",")))) == alone


def test_the_system_is_asked(tmp_path, monkeypatch):
    (tmp_path / "mountinfo").write_bytes(INFO)
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "mountinfo")
    assert locks_of_one_host("/mnt/twice/a") == Mount("/mnt/twice", "lustre", frozenset({"rw", "localflock"}))
    assert locks_of_one_host("/mnt/a") is None
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "none")  # another system than Linux
    assert locks_of_one_host("/mnt/twice/a") is None
