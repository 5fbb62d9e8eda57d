"""Compiled programs on disk: written by one process, read by the next, and only where they should be."""

import os
import subprocess
import sys

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
    assert folder.startswith(f"{tmp_path}/ddim_jax/xla-") and hits == 0
    assert os.stat(folder).st_mode & 0o077 == 0
    assert os.listdir(folder)
    second, again, hits, _ = run(XDG_CACHE_HOME=str(tmp_path))
    assert (second, again) == (first, folder) and hits > 0


def test_the_users_own_folder_is_used(tmp_path):
    _, folder, _, _ = run(XDG_CACHE_HOME=str(tmp_path / "other"), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))
    assert folder == str(tmp_path / "own") and not (tmp_path / "other").exists()


def test_turned_off_or_impossible_the_program_runs_all_the_same(tmp_path):
    _, folder, hits, _ = run(XDG_CACHE_HOME=str(tmp_path), JAX_ENABLE_COMPILATION_CACHE="0")
    assert (folder, hits) == ("None", 0) and not any(tmp_path.iterdir())
    (tmp_path / "file").touch()
    _, folder, hits, said = run(XDG_CACHE_HOME=str(tmp_path / "file"))
    assert (folder, hits) == ("None", 0)
    assert "compiled programs are not kept" in said and str(tmp_path / "file") in said
