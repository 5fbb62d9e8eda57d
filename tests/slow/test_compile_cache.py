"""Compiled programs on disk: written by one process, read by the next, and only where they should be."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tiny_runs import config_file, unet_config

ROOT = Path(__file__).parents[2]

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


def without_the_tests_cache():
    return {name: value for name, value in os.environ.items() if "COMPILATION_CACHE" not in name}


def run(**environment):
    environment = without_the_tests_cache() | {"JAX_PLATFORMS": "cpu"} | environment
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    value, last = done.stdout.strip().splitlines()
    folder, hits = last.split()
    return float(value), folder, int(hits), done.stderr


def test_the_next_process_reads_what_one_has_compiled(tmp_path):
    first, folder, hits, _ = run(XDG_CACHE_HOME=str(tmp_path))
    assert folder.startswith(f"{tmp_path}/ddim_jax/programs-") and hits == 0
    assert os.stat(folder).st_mode & 0o077 == 0
    second, again, hits, said = run(XDG_CACHE_HOME=str(tmp_path))
    assert (second, again) == (first, folder) and hits > 0 and "cache" not in said


def test_two_processes_that_start_at_once_share_the_folder(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        starts = [pool.submit(run, XDG_CACHE_HOME=str(tmp_path)) for _ in range(2)]
    (first, folder, *_, said), (second, again, *_, also) = (start.result() for start in starts)
    assert (first, folder) == (second, again) and "cache" not in said + also
    assert run(XDG_CACHE_HOME=str(tmp_path))[2] > 0


def test_a_program_written_in_part_is_removed_so_that_others_are_kept(tmp_path):
    """JAX, killed between a program and the time of its use, would write no other one beside it."""
    value, folder, _, _ = run(XDG_CACHE_HOME=str(tmp_path))
    (whole, *_) = Path(folder).glob("*-cache")
    half = Path(folder, "jit_other-0-cache")
    half.write_bytes(whole.read_bytes()[:99])
    again, _, hits, said = run(XDG_CACHE_HOME=str(tmp_path))
    assert (again, "persistent" in said) == (value, False) and hits > 0 and whole.exists() and not half.exists()


def test_a_second_training_compiles_nothing(tmp_path):
    (tmp_path / "tiny.py").write_text(config_file(unet_config(steps=4)))
    environment = without_the_tests_cache() | {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    compiled = []
    for name in ("first", "second"):
        train = [sys.executable, str(ROOT / "train.py"), "--config", "tiny.py", "--workdir", name]
        subprocess.run(train, cwd=tmp_path, env=environment, capture_output=True, check=True)
        compiled.append(sorted(path.name for path in tmp_path.glob("ddim_jax/*/*-cache")))
    assert compiled[0] == compiled[1] and any(name.startswith("jit_step-") for name in compiled[0])


def test_the_users_own_folder_is_used(tmp_path):
    _, folder, _, _ = run(XDG_CACHE_HOME=str(tmp_path / "other"), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))
    assert folder.startswith(f"{tmp_path}/own/ddim_jax/") and not (tmp_path / "other").exists()
    assert os.listdir(folder)


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_program_is_told_and_compiled(tmp_path, damage):
    first, folder, _, _ = run(XDG_CACHE_HOME=str(tmp_path))
    for path in Path(folder).glob("*-cache"):
        content = bytearray(path.read_bytes())
        if damage == "flip" and content.startswith(b"\x28\xb5\x2f\xfd"):
            pytest.skip("zstandard has no checksum here")
        content[len(content) // 2] ^= 1
        path.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    second, _, hits, said = run(XDG_CACHE_HOME=str(tmp_path))
    assert (second, hits) == (first, 0) and "Error reading persistent compilation cache entry" in said


def test_turned_off_or_impossible_the_program_runs_all_the_same(tmp_path):
    _, folder, hits, _ = run(XDG_CACHE_HOME=str(tmp_path), JAX_ENABLE_COMPILATION_CACHE="0")
    assert (folder, hits) == ("None", 0) and not any(tmp_path.iterdir())
    (tmp_path / "file").touch()
    _, folder, hits, said = run(XDG_CACHE_HOME=str(tmp_path / "file"))
    assert (folder, hits) == ("None", 0)
    assert "compiled programs are not kept" in said and str(tmp_path / "file") in said


@pytest.mark.parametrize("small_disk", ["8m"], indirect=True)
def test_a_folder_that_is_read_only_is_told(small_disk):
    first, folder, _, _ = run(XDG_CACHE_HOME=str(small_disk))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    second, none, hits, said = run(XDG_CACHE_HOME=str(small_disk))
    assert (second, none, hits) == (first, "None", 0)
    assert said.count("\n") == 1 and "compiled programs are not kept" in said and folder in said
