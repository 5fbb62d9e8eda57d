"""Compiled programs on disk: written by one process, read by the next, and only where they should be."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import jax, jax.monitoring
import jax.numpy as jnp
from ddim_jax.runtime.compile_cache import keep_compiled_programs

events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
folder = keep_compiled_programs()
if folder is not None:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
print(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.full((3, 3), 0.5))[0, 0])
print(folder, events.count("/jax/compilation_cache/cache_hits"))
"""


def run(**environment):
    inherited = {name: value for name, value in os.environ.items() if "COMPILATION_CACHE" not in name}
    environment = inherited | {"JAX_PLATFORMS": "cpu"} | environment
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    value, last = done.stdout.strip().splitlines()
    folder, hits = last.split()
    return float(value), folder, int(hits), done.stderr


def test_the_next_process_reads_what_one_has_compiled(tmp_path):
    first, folder, hits, _ = run(XDG_CACHE_HOME=str(tmp_path))
    assert folder.startswith(f"{tmp_path}/ddim_jax/programs-") and hits == 0
    assert os.stat(folder).st_mode & 0o077 == 0
    assert os.listdir(folder)  # what JAX was lent is gone
    assert all(re.fullmatch(r".*-cache\.[0-9a-f]{64}", entry) for entry in os.listdir(folder))
    second, again, hits, _ = run(XDG_CACHE_HOME=str(tmp_path))
    assert (second, again) == (first, folder) and hits > 0


def test_the_users_own_folder_is_used(tmp_path):
    _, folder, _, _ = run(XDG_CACHE_HOME=str(tmp_path / "other"), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))
    assert folder.startswith(f"{tmp_path}/own/ddim_jax/") and not (tmp_path / "other").exists()
    assert os.listdir(folder)


def test_a_program_of_which_a_byte_changed_is_made_again(tmp_path):
    """With zstandard JAX itself does not notice, and runs it."""
    first, folder, _, _ = run(XDG_CACHE_HOME=str(tmp_path))
    entries = list(pathlib.Path(folder).iterdir())
    for path in entries:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    second, _, hits, said = run(XDG_CACHE_HOME=str(tmp_path))
    assert (second, hits) == (first, 0) and all(f"{path}: a compiled program was damaged" in said for path in entries)
    assert run(XDG_CACHE_HOME=str(tmp_path))[2] > 0


def test_a_folder_that_others_may_write_to_is_refused(tmp_path):
    (tmp_path / "ddim_jax").mkdir()
    (tmp_path / "ddim_jax").chmod(0o777)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(XDG_CACHE_HOME=str(tmp_path))
    assert f"chmod go-w {tmp_path}/ddim_jax" in failed.value.stderr


def test_turned_off_or_impossible_the_program_runs_all_the_same(tmp_path):
    _, folder, hits, _ = run(XDG_CACHE_HOME=str(tmp_path), JAX_ENABLE_COMPILATION_CACHE="0")
    assert (folder, hits) == ("None", 0) and not any(tmp_path.iterdir())
    (tmp_path / "file").touch()
    _, folder, hits, said = run(XDG_CACHE_HOME=str(tmp_path / "file"))
    assert (folder, hits) == ("None", 0)
    assert "compiled programs are not kept" in said and str(tmp_path / "file") in said
