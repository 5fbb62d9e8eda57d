"""The commands where streams, limits, variables and caches are not as a program expects them."""

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from segmenters import config, picture, tiny_params
from tiny_runs import config_file, unet_config

from ddim_jax.checkpoints import CheckpointStore

ROOT = Path(__file__).parents[2]
LIMIT = 600


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, images, and a config file of a training that has no end."""
    folder = tmp_path_factory.mktemp("surroundings")
    metadata = {"config": config(), "package_version": "0"}
    CheckpointStore(folder / "run/checkpoints").save(
        5, state={"step": 5}, ema_params=tiny_params()[1], metadata=metadata
    )
    (folder / "in").mkdir()
    for seed in range(2):
        Image.fromarray(picture(seed)).save(folder / f"in/{seed}.png")
    (folder / "long.py").write_text(config_file(unet_config(steps=100_000, checkpoint_every=10_000)))
    return folder


@pytest.fixture
def start(environment, folder, tmp_path):
    """Starts sample by the shell, behind `before` and before `after`; its results go to tmp_path/out."""

    def run(after="", before="", **variables):
        command = f"{before} {sys.executable} {ROOT / 'sample.py'} --ckpt run --input in --output {tmp_path / 'out'}"
        return subprocess.run(
            f"{command} {after}",
            shell=True,
            executable="/bin/bash",
            cwd=folder,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )

    return run


def masks(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*_mask.png"))}


@pytest.mark.parametrize("after", ["<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1"])
def test_streams_that_cannot_be_written_to_stop_no_work(start, tmp_path, after):
    done = start(after)
    assert done.returncode == 0 and len(masks(tmp_path / "out")) == 2
    lost = "standard output: No space left on device" in done.stderr
    assert lost == (after == ">/dev/full") and "Traceback" not in done.stderr


def test_a_name_that_a_stream_cannot_encode(start, tmp_path):
    done = start("--output $'\\xe9\\x1b[31m'", before=f"cd {tmp_path}; ln -s $OLDPWD/run $OLDPWD/in .;",
                 PYTHONIOENCODING="ascii")  # fmt: skip
    assert done.returncode == 0 and "failed: \\xe9\\x1b[31m\n" in done.stdout, done.stderr


def test_random_numbers_and_types_are_those_of_every_environment(start, tmp_path):
    assert start("--save mask,probability").returncode == 0
    expected = masks(tmp_path / "out")
    others = {
        **{"JAX_DEFAULT_PRNG_IMPL": "rbg", "JAX_THREEFRY_PARTITIONABLE": "0", "JAX_RANDOM_SEED_OFFSET": "7"},
        **{"JAX_ENABLE_X64": "1", "JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise"},
    }
    probability = (tmp_path / "out/0_probability.png").read_bytes()
    (tmp_path / "out").rename(tmp_path / "before")
    done = start("--save mask,probability", **others)
    assert done.returncode == 0, done.stderr
    assert masks(tmp_path / "out") == expected
    assert (tmp_path / "out/0_probability.png").read_bytes() == probability


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("JAX_PLATFORMS", "nothere", "error: JAX finds no device"),
        ("JAX_ENABLE_X64", "maybe", "error: invalid truth value 'maybe'"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_one_line(start, variable, value, said):
    done = start(**{variable: value})
    assert done.returncode == 2 and done.stderr.startswith(said) and done.stderr.count("\n") == 1


def test_few_open_files_are_one_line(start):
    done = start(before="ulimit -n 32;")
    assert done.returncode == 2 and "ulimit -n 256" in done.stderr and done.stderr.count("\n") == 1
    assert start(before="ulimit -S -n 32;").returncode == 0


def training(environment, folder, workdir, stdout):
    command = [sys.executable, str(ROOT / "train.py"), "--config", "long.py", "--workdir", str(workdir)]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=stdout, stderr=subprocess.STDOUT)


def steps_saved(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())


def test_a_training_whose_reader_leaves_saves_what_it_has(environment, folder, tmp_path):
    process = training(environment, folder, tmp_path / "run", subprocess.PIPE)
    try:
        assert any("loss" in str(line) for line in process.stdout)  # until the first step
        process.stdout.close()  # as head does
        assert process.wait(LIMIT) == 75
    finally:
        process.kill()
    assert len(steps_saved(tmp_path / "run")) == 1


def test_a_training_whose_terminal_goes_away_saves_what_it_has(environment, folder, tmp_path):
    # Under nohup the signal is ignored, by these tests and so by what they start; here it is to be heard.
    ours = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with open(tmp_path / "log", "wb") as log:
            process = training(environment, folder, tmp_path / "run", log)
    finally:
        signal.signal(signal.SIGHUP, ours)
    try:
        numbers, end = tmp_path / "run/metrics.jsonl", time.monotonic() + LIMIT
        while not (numbers.exists() and numbers.stat().st_size) and time.monotonic() < end:
            time.sleep(0.2)
        process.send_signal(signal.SIGHUP)
        assert process.wait(LIMIT) == 75
    finally:
        process.kill()
    (step,) = steps_saved(tmp_path / "run")
    assert f"SIGHUP: saved step {step}, stopped" in (tmp_path / "log").read_text()


def test_a_user_without_a_name_and_a_home(environment, folder, tmp_path):
    nobody = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run([*nobody, "true"], capture_output=True).returncode == 0:
            command = [*nobody, sys.executable, str(ROOT / "sample.py"), "--ckpt", "run", "--input", "in", "--output"]
            own = {name: value for name, value in environment.items() if name not in ("HOME", "USER", "LOGNAME")}
            own |= {"TMPDIR": str(tmp_path)}
            del own["XDG_CACHE_HOME"], own["JAX_COMPILATION_CACHE_DIR"]
            done = subprocess.run(
                [*command, str(tmp_path / "out")], cwd=folder, env=own, capture_output=True, text=True, timeout=LIMIT
            )
            assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
            assert (tmp_path / "cache-12345/ddim_jax").is_dir() and len(masks(tmp_path / "out")) == 2
            return
    pytest.skip("no user namespaces")
