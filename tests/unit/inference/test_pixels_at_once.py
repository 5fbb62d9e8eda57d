"""Few pixels at once, and never an image that waits for ever."""

import os
import random
import threading

import numpy as np
import pytest
from PIL import Image
from segmenters import picture, red_segmenter

from ddim_jax.inference import reading as reading_module
from ddim_jax.inference import results as results_module
from ddim_jax.inference import segment_files
from ddim_jax.inference import stream as stream_module


@pytest.fixture
def folder(tmp_path):
    """Twenty images of 64 to 1,200 pixels in no order, one damaged."""
    (tmp_path / "in").mkdir()
    rng = random.Random(3)
    for k in range(20):
        shape = rng.choice([(8, 8), (10, 20), (20, 20), (30, 40)])
        Image.fromarray(picture(k, *shape)).save(tmp_path / "in" / f"{k:02}.png")
    (tmp_path / "in" / "07.png").write_bytes((tmp_path / "in" / "07.png").read_bytes()[:60])
    return tmp_path / "in"


def contents(out):
    return {path.name: path.read_bytes() for path in out.glob("*.png")}


class InFlight:
    """Counts the pixels of images between reading and written."""

    def __init__(self, patch):
        self.most, self.alone, self._sizes, self._lock = 0, 0, {}, threading.Lock()
        self._read, self._write = reading_module.read_picture, results_module.write_outputs
        patch.setattr(reading_module, "read_picture", self.read)
        patch.setattr(results_module, "write_outputs", self.write)

    def read(self, path, options):
        read = self._read(path, options)
        image = read.pixels
        with self._lock:
            self._sizes[os.path.splitext(os.path.basename(path))[0]] = image.shape[0] * image.shape[1]
            if len(self._sizes) == 1:
                self.alone = max(self.alone, *self._sizes.values())
            else:
                self.most = max(self.most, sum(self._sizes.values()))
        return read

    def write(self, job, *arguments):
        self._write(job, *arguments)
        with self._lock:
            del self._sizes[job.name]


@pytest.mark.parametrize("prefetch", [1, 4, 20])
def test_no_more_pixels_than_there_is_room_for(folder, tmp_path, monkeypatch, prefetch):
    """Were an image to wait for another that waits for it, the thread would not end."""
    segment_files(red_segmenter(), folder, tmp_path / "all", save=("mask", "probability"))
    monkeypatch.setattr(stream_module, "PIXELS_AT_ONCE", 1000)
    counted, summaries = InFlight(monkeypatch), []

    def run():
        summaries.append(
            segment_files(red_segmenter(), folder, tmp_path / "few", save=("mask", "probability"), prefetch=prefetch)
        )

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()
    assert (summaries[0].done, len(summaries[0].failed)) == (19, 1)
    assert 0 < counted.most <= 1000 and counted.alone == 1200
    assert contents(tmp_path / "few") == contents(tmp_path / "all") and len(contents(tmp_path / "few")) == 38


def test_pictures_of_one_colour_do_not_fill_the_memory(tmp_path, monkeypatch):
    """A file of some hundred bytes may be millions of pixels: the header says so before any of it is decoded."""
    (tmp_path / "in").mkdir()
    for k in range(6):
        Image.fromarray(np.zeros((300, 400), np.uint8)).save(tmp_path / "in" / f"{k}.png")
    assert (tmp_path / "in" / "0.png").stat().st_size < 1000
    monkeypatch.setattr(stream_module, "PIXELS_AT_ONCE", 250_000)
    counted = InFlight(monkeypatch)
    assert segment_files(red_segmenter(), tmp_path / "in", tmp_path / "out").done == 6
    assert max(counted.most, counted.alone) <= 240_000
