"""ddim-jax doctor: facts, and what to do about each."""

import hashlib
import platform
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import ddim_jax
from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.checkpoints import manifest as manifest_module
from ddim_jax.cli import doctor
from ddim_jax.inference.loading import weights_digest
from ddim_jax.ops.cpu_kernels import library


@pytest.fixture
def said(capsys):
    """Runs `ddim-jax doctor ARGUMENTS`: (exit status, lines of stdout)."""

    def run(*arguments):
        status = doctor.run(list(arguments))
        return status, capsys.readouterr().out.splitlines()

    return run


def test_versions_and_devices(said):
    status, lines = said()
    assert status == 0
    assert lines[0].split() == ["ddim_jax", f"{ddim_jax.__version__},", str(Path(ddim_jax.__file__).parent)]
    assert lines[1].startswith(f"python            {platform.python_version()}, ")
    assert [line.split()[0] for line in lines[2:7]] == ["jax", "jaxlib", "flax", "optax", "orbax-checkpoint"]
    assert lines[2].split() == ["jax", jax.__version__]
    assert lines[7].startswith(f"device            {jax.device_count()} x ")


def test_a_package_that_is_missing(said, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package",))
    _, lines = said()
    assert lines[2].split(maxsplit=1) == ["no-such-package", "not installed"]
    assert lines[3].split(maxsplit=1) == ["->", "pip install . in a checkout of ddim_jax brings it along"]


def test_no_device_is_a_line_and_what_to_do(said, monkeypatch):
    def none():
        raise RuntimeError("Unable to initialize backend 'tpu': there is none\nmore of it")

    monkeypatch.setattr(jax, "devices", none)
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    status, lines = said()
    assert status == 1
    assert lines[-2:] == [
        "no device         Unable to initialize backend 'tpu': there is none",
        "                  -> JAX_PLATFORMS is 'tpu': unset it, or set it to cpu",
    ]


SLOWER = "everything works, slower on CPU"


@pytest.mark.parametrize(
    ("built", "loads", "compiler", "found", "advice"),
    [
        ("/cache/kernels-0-1.so", True, None, "/cache/kernels-0-1.so", None),
        ("/k-0-1.so", False, ["/bin/c++"], f"/k-0-1.so cannot be loaded; {SLOWER}; compiler: /bin/c++", library.BUILD),
        (None, False, ["/bin/c++", "-m64"], f"not built; {SLOWER}; compiler: /bin/c++ -m64", library.BUILD),
        (None, False, None, f"not built, and no compiler was found; {SLOWER}", "install a C++ compiler"),
    ],
)
def test_the_kernels(said, monkeypatch, built, loads, compiler, found, advice):
    monkeypatch.setattr(library, "library_path", lambda: built and Path(built))
    monkeypatch.setattr(library, "available", lambda: loads)
    monkeypatch.setattr(library, "compiler", lambda: compiler)
    _, lines = said()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("CPU kernels")]
    assert lines[place] == f"CPU kernels       {found}"
    assert lines[place + 1].strip().startswith(f"-> {advice}" if advice else "cache")


def test_building_the_kernels(said, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SystemExit) as end:
        said("--build-kernels")
    assert end.value.code == 2
    monkeypatch.setattr("ddim_jax.ops.cpu_kernels.build", lambda: tmp_path / "kernels.so")
    assert said("--build-kernels")[1][0] == f"built {tmp_path / 'kernels.so'}"


def test_the_caches_with_their_sizes(said, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert f"cache             {tmp_path}/ddim_jax, writable" in said()[1]
    (tmp_path / "ddim_jax/xla-1").mkdir(parents=True)
    (tmp_path / "ddim_jax/xla-1/a").write_bytes(bytes(3 * 2**20))
    lines = said()[1]
    assert f"{'':18}{tmp_path}/ddim_jax/xla-1: 3.0 MiB; may be removed at any time" in lines
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    lines = said()[1]
    place = lines.index(f"cache             {tmp_path}/ddim_jax, not writable")
    assert lines[place + 1].strip() == "-> it cannot be written to: set XDG_CACHE_HOME to a folder that can"


def test_a_checkpoint(said, tmp_path):
    store = CheckpointStore(tmp_path / "run/checkpoints")
    config = {"model": {"name": "unet", "overrides": {"base_channels": 8, "dtype": None}}, "data": {"root": ""}}
    for step in (5, 9):
        store.save(step, state={"step": np.int32(step)}, ema_params={"w": np.ones(3)}, metadata={"config": config})
    manifests = [store.directory / str(step) / "manifest.json" for step in (5, 9)]
    status, lines = said("--ckpt", str(tmp_path / "run"))
    assert status == 0 and lines[2].split(maxsplit=1) == ["model", "name unet, overrides.base_channels 8"]
    for step, line, manifest in zip((5, 9), lines, manifests, strict=False):
        digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
        same = weights_digest({"w": np.ones(3)})  # of both steps, whose manifests differ
        assert re.fullmatch(
            rf"step {step} +intact, 0\.\d MiB, SHA-256 of its manifest {digest}, of its averaged weights {same}", line
        )
    _, lines = said("--ckpt", str(store.directory / "5"))
    assert [line.split()[0] for line in lines[:2]] == ["step", "model"]
    with open(next((store.directory / "9/ema_params").rglob("d/*")), "ab") as file:
        file.write(b"x")
    _, lines = said("--ckpt", str(tmp_path / "run"))
    assert "9 is damaged: ema_params" in lines[1] and lines[2].strip() == "-> restore these files from a copy"
    manifests[0].write_text("{}")
    status, lines = said("--ckpt", str(tmp_path / "run"))
    assert status == 1 and lines[-2].endswith("run/checkpoints: no intact one is left")


@pytest.mark.parametrize(("where", "name"), [(CheckpointStore, "damage"), (manifest_module, "manifest_digest")])
def test_steps_that_a_training_removes_meanwhile_are_no_damage(said, tmp_path, monkeypatch, where, name):
    """Step 5 goes while it is verified, or between that and the rest of its line; step 7 is saved after 5 was found."""
    store, look = CheckpointStore(tmp_path / "run/checkpoints"), getattr(where, name)

    def save(step):
        store.save(step, state={"step": np.int32(step)}, ema_params={"w": np.ones(3)}, metadata={"config": {}})

    def removes(*given):
        if (store.directory / "5").exists():
            if later:
                save(7)
            shutil.rmtree(store.directory / "5")
        return look(*given)

    monkeypatch.setattr(where, name, removes)
    for later in (False, True):
        save(5)
        if not later:
            save(6)
        status, lines = said("--ckpt", str(tmp_path / "run"))
        (line,) = lines
        assert status == 0 and line.split()[:3] == ["step", "7" if later else "6", "intact,"]
        shutil.rmtree(store.directory)
        store = CheckpointStore(store.directory)


def test_what_a_folder_is_looked_through_twice_for_is_said_once(said, tmp_path, caplog):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for number in range(12):
            Image.fromarray(np.tri(4, dtype=np.uint8) * 255).save(tmp_path / folder / f"{number}.png")
    (tmp_path / "images/notes.txt").touch()
    for runs in (1, 2):  # each run says its lines
        status, lines = said("--data", str(tmp_path))
        assert status == 0 and any(line.startswith("split  ") for line in lines)
        assert caplog.text.count("that are no images are passed over: .txt 1") == runs


def test_label_maps_are_looked_at_with_the_options_of_training(said, tmp_path, capsys):
    mask = np.repeat([0, 1, 2, 3, 255], 8).reshape(10, 4).astype(np.uint8)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for name in "abc":
            Image.fromarray(mask).save(tmp_path / folder / f"{name}.png")
    with pytest.raises(SystemExit):
        doctor.run(["--data", str(tmp_path)])
    advice = re.search(r"--config.data.labels='(.*?)' .*(--config.data.ignore=255) ", capsys.readouterr().err)
    status, lines = said("--data", str(tmp_path), f"--config.data.labels={advice[1]}", advice[2])
    assert status == 0 and "3 (NAME1 in 3, NAME2 in 3, NAME3 in 3 pairs)" in "".join(lines)
    overlapping = ("--labels", '{"a": [1, 3], "b": [2, 3]}', "--ignore", "255,-1", "--multilabel", "--invert")
    for option in ("--window", "--config.data.window"):
        status, lines = said("--data", str(tmp_path), *overlapping, option, "-600,1500")
        assert status == 0 and "2 (a in 3, b in 3 pairs)" in "".join(lines)
    with pytest.raises(SystemExit):
        doctor.run(["--data", str(tmp_path), "--labels", "lung"])
    assert "data.labels is 'lung'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        doctor.run(["--data", str(tmp_path), "--labels", '{"lung": 1, "lung": 2}'])
    assert "'lung' is there twice; expected it once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--ckpt", "runs/a", "--data", "DIR"), "--ckpt and --data are given; expected one of them, each in a call of"),
        (("--build-kernels", "--data", "DIR"), "--build-kernels and --data are given; expected one of them"),
        (("--ignore", "0", "--invert"), "--ignore, --invert say how --data is looked at; expected --data DIR beside"),
        (("--ckpt", "runs/a", "--image-size", "32"), "--image-size say how --data is looked at; expected --data DIR"),
    ],
)
def test_what_would_be_passed_over_is_refused(arguments, told, capsys):
    with pytest.raises(SystemExit) as left:
        doctor.run(list(arguments))
    assert left.value.code == 2 and told in capsys.readouterr().err


def test_the_split_is_told_that_the_options_of_training_give(said, tmp_path, capsys):
    for number in range(12):
        for folder in ("images", "masks"):
            (tmp_path / folder / f"p{number // 6}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.tri(4, dtype=np.uint8) * 255).save(tmp_path / folder / f"p{number // 6}/{number}.png")
    with pytest.raises(SystemExit) as left:
        doctor.run(["--data", str(tmp_path)])
    printed, error = capsys.readouterr()
    assert (
        left.value.code == 2 and "train.steps" in printed and "are of 2 groups (folders below images/, volumes" in error
    )
    status, lines = said("--data", str(tmp_path), "--config.data.groups=none", "--split-seed", "3")
    assert status == 0 and f"{'split':17} 10 train, 1 val, 1 test; drawn by seed 3" in lines
    lines = said("--data", str(tmp_path), "--groups", "none", "--config.data.folds=3", "--fold", "1")[1]
    assert f"{'split':17} 4 train, 4 val, 4 test; fold 1 of 3 by seed 0" in lines
    with pytest.raises(SystemExit) as left:
        doctor.run(["--data", str(tmp_path), "--groups", "none", "--folds", "2"])
    assert left.value.code == 2 and "data.folds is 2 and data.fold 0" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0", "-7", "99999"])
def test_a_size_that_no_training_has_is_refused(tmp_path, capsys, size):
    with pytest.raises(SystemExit) as left:
        doctor.run(["--data", str(tmp_path), "--image-size", size])
    said = f"error: --image-size is {size}; expected a whole number from 1 to 16384\n"
    assert (left.value.code, capsys.readouterr().err) == (2, said)


def test_annotators_are_named_with_or_without_blanks(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    with pytest.raises(SystemExit):
        doctor.run(["--data", str(tmp_path), "--annotators", "anna, ben "])
    assert " has no folder anna and no folder ben (" in capsys.readouterr().err
