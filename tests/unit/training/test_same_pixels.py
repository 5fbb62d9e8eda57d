"""A run goes on with the pixels that it was trained on, or says of which pairs they changed."""

import shutil

import pytest
from absl import logging
from tiny_runs import unet_config

from ddim_jax.data import load_dataset
from ddim_jax.data.pixels import PIXELS_FIELD, check_same_pixels, digest_of, write_pixels
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.training import setup, train

BEFORE = {"a": "1" * 64, "b,c": "2" * 64, "d": "3" * 64}
NOW = {**BEFORE, "b,c": "4" * 64}


def test_pairs_whose_pixels_changed_are_refused_by_name(tmp_path, monkeypatch):
    saved = {"data": {PIXELS_FIELD: digest_of(BEFORE)}}
    write_pixels(tmp_path, BEFORE, {})
    check_same_pixels(saved, dict(reversed(BEFORE.items())), tmp_path, refuse=True)
    with pytest.raises(ConfigError, match=r"image or mask of b,c \(1 of 3 pairs\) changed since.*same_pixels=false"):
        check_same_pixels(saved, NOW, tmp_path, refuse=True)
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    check_same_pixels(saved, NOW, tmp_path, refuse=False)
    assert len(said) == 1 and "b,c (1 of 3 pairs)" in said[0]
    check_same_pixels({"data": {}}, NOW, tmp_path, refuse=True)  # of a version that kept none


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"id,sha256\na\n", b"id,sha256\na,1,2\n"])
def test_without_the_table_they_are_refused_without_names(tmp_path, content):
    if content is not None:
        (tmp_path / "pixels.csv").write_bytes(content)
    with pytest.raises(ConfigError, match="image or mask of some pairs changed since"):
        check_same_pixels({"data": {PIXELS_FIELD: digest_of(BEFORE)}}, NOW, tmp_path, refuse=True)


class Inverted:
    """A data set of which the mask of row 3 is inverted."""

    def __init__(self, source):
        self.name, self.ids, self._source = source.name, source.ids, source

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, row):
        example = self._source[row]
        return example._replace(mask=1 - example.mask) if row == 3 else example


def test_a_mask_inverted_on_disk_stops_a_run_before_anything_is_written(plain, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    shutil.copytree(plain, workdir)
    before = {file: file.stat().st_mtime_ns for file in workdir.rglob("*")}
    monkeypatch.setattr(setup, "load_dataset", lambda split, **about: Inverted(load_dataset(split=split, **about)))
    with pytest.raises(ConfigError, match=r"mask of train_00003, val_00003 \(2 of 17 pairs\) changed since"):
        train(unet_config(steps=14), workdir)
    assert {file: file.stat().st_mtime_ns for file in workdir.rglob("*")} == before
