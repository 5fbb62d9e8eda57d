"""A cache that another user could change is refused, with what mends it."""

import os
import tempfile
from pathlib import Path

import pytest

from ddim_jax.inference.export_cache import TracedPrograms
from ddim_jax.ops.cpu_kernels import library
from ddim_jax.runtime.cache_folder import cache_folder, check_private, make_private
from ddim_jax.runtime.errors import InputError


@pytest.mark.parametrize(("mode", "refused"), [(0o700, False), (0o755, False), (0o775, True), (0o777, True)])
def test_a_folder_that_others_may_write_to(tmp_path, mode, refused):
    folder = tmp_path / "a b"
    folder.mkdir()
    folder.chmod(mode)
    if not refused:
        return check_private(folder)
    with pytest.raises(InputError, match=rf"mode {mode:o}.*chmod go-w '.*/a b'"):
        check_private(folder)


@pytest.mark.parametrize(("owner", "refused"), [(0, False), (1000, False), (1001, True)])
def test_a_folder_of_another_user_but_root(tmp_path, monkeypatch, owner, refused):
    about = list(os.stat(tmp_path))
    about[4] = owner
    monkeypatch.setattr(os, "stat", lambda _: os.stat_result(about))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    if not refused:
        return check_private(tmp_path)
    with pytest.raises(InputError, match=r"belongs to another user .user id 1001, this is 1000.*chown"):
        check_private(tmp_path)


@pytest.mark.parametrize("which", ["", "kernels"])
def test_every_cache_is_looked_at(tmp_path, monkeypatch, which):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "ddim_jax" / which
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    for use in (lambda: cache_folder("kernels"), library.library_path):
        with pytest.raises(InputError, match="chmod go-w"):
            use()
    with pytest.raises(InputError, match="chmod go-w"):
        TracedPrograms(folder, {}, {})


def test_a_user_without_a_home_has_a_cache_among_the_temporary_files(tmp_path, monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = cache_folder("kernels")
    assert folder == tmp_path / f"cache-{os.geteuid()}" / "ddim_jax" / "kernels"
    make_private(folder)
    assert [path.stat().st_mode & 0o777 for path in (folder, *folder.parents[:2])] == [0o700] * 3
    folder.parents[1].chmod(0o777)  # made before by somebody else
    with pytest.raises(InputError, match="chmod go-w"):
        cache_folder("kernels")
