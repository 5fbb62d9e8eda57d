"""Paths as a user gives them: remote ones are refused before anything is read or written, ~ is the home folder."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from configs import demo
from ddim_jax.checkpoints.folders import locate
from ddim_jax.checkpoints.torch_weights import load_state_dict
from ddim_jax.cli.configs import config_file
from ddim_jax.data import load_dataset
from ddim_jax.data.export import export_pairs
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.inference import Segmenter, segment_files
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.cache_folder import cache_folder
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.remote import local_path, refuse_remote
from ddim_jax.training import train


@pytest.mark.parametrize(
    "path", ["gs://bucket/scans", "s3://b/x", "hdfs://n/x", "file:///x", Path("gs://bucket/scans")]
)
def test_a_scheme_is_refused_with_what_to_do(path):
    with pytest.raises(InputError) as error:
        refuse_remote(path, "data.root")
    assert str(error.value).startswith(f"data.root is {path}; {str(path).partition(':')[0]}:// paths are not read")
    assert "Copy the files" in str(error.value) and "mount" in str(error.value)


@pytest.mark.parametrize(
    "path", [None, "", "runs/gs", "/a/gs://b", "C:/scans", "C:\\scans", "~/x", "gs:scans", Path("x")]
)
def test_paths_of_the_file_system_pass(path):
    refuse_remote(path, "data.root")


def train_with(field, value):
    config = demo.get_config()
    config.update_from_flattened_dict({field: value})
    train(config, "runs/demo")


CALLS = {
    "workdir": lambda path: train(demo.get_config(), path),
    "data.root": lambda path: train_with("data.root", path),
    "data.cache_dir": lambda path: train_with("data.cache_dir", path),
    "train.init_from": lambda path: train_with("train.init_from", path),
    "data.root ": lambda path: load_dataset("folder", "test", root=path),
    "the checkpoint": Segmenter.load,
    "the checkpoint ": evaluate_checkpoint,
    "data_root": lambda path: evaluate_checkpoint("run", data_root=path),
    "output_dir": lambda path: evaluate_checkpoint("run", output_dir=path),
    "output": lambda path: export_pairs([], path),
    "input": lambda path: segment_files(None, ["here.png", path], "out"),
    "output ": lambda path: segment_files(None, "here.png", path),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_way_in_refuses(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"{name.strip()} is gs://bucket/x; gs:// paths are not read or written"):
        CALLS[name]("gs://bucket/x")
    assert not list(tmp_path.iterdir())


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert (
        local_path("~/data/in", "data.root") == local_path(Path("~/data/in"), "data.root") == Path("/home/me/data/in")
    )
    assert local_path("~", "data.root") == Path("/home/me")
    assert local_path("~nobody-of-that-name/x", "data.root") == Path("~nobody-of-that-name/x")
    assert local_path("a/~/b", "data.root") == Path("a/~/b")
    assert local_path(None, "data.root") is None
    with pytest.raises(InputError, match=r"^data\.root is gs:"):
        local_path("gs://bucket/~", "data.root")


NAMED_IN_HOME = {
    "workdir": lambda path: train(demo.get_config(), path),
    "train.init_from": load_state_dict,
    "output": lambda path: export_pairs([], path),
}


@pytest.mark.parametrize("name", NAMED_IN_HOME)
def test_every_way_in_finds_the_home_folder(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises((InputError, OSError), match=f"{tmp_path}/file"):
        NAMED_IN_HOME[name]("~/file")


def test_data_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=f"{tmp_path}/lungs"):
        load_dataset("folder", "test", root="~/lungs")
    seen = []

    def load(split, about):
        seen.append(about)
        return SimpleNamespace(ids=())

    monkeypatch.setattr(DATASETS, "_entries", {**dict(DATASETS.items()), "seen": load})
    load_dataset("seen", "test", root="~/lungs", cache_dir="~/cache")
    load_dataset("seen", "test", root="", cache_dir="")
    assert [(about.root, about.cache_dir) for about in seen] == [
        (tmp_path / "lungs", tmp_path / "cache"),
        (None, cache_folder()),
    ]


def test_a_run_and_a_config_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run/checkpoints/5/ema_params").mkdir(parents=True)
    (tmp_path / "mine.py").touch()
    assert locate("~/run") == (tmp_path / "run/checkpoints", None)
    assert config_file("~/mine.py:small") == f"{tmp_path}/mine.py:small"
