"""A batch on a CPU: its images shared by threads, one for each processor."""

import threading
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image
from segmenters import SIZE, config, picture, red_segmenter

from ddim_jax.inference import Segmenter, device, segment_files
from ddim_jax.inference.batches import in_parts
from ddim_jax.sampling_options import SamplingOptions

OPTIONS = SamplingOptions.create(config())


def fresh():
    """A segmenter that no other test has, for these change it."""
    return red_segmenter.__wrapped__()


@pytest.mark.parametrize(
    ("platform", "count", "size", "expected"),
    [
        ("cpu", 8, 8, [[0, 1, 2], [3, 4, 5], [6, 7, 7]]),
        ("cpu", 4, 8, [[0, 1, 2], [3, 3, 3]]),
        ("cpu", 2, 2, [[0], [1]]),
        ("gpu", 3, 8, [[0, 1, 2, 2, 2, 2, 2, 2]]),
        ("gpu", 1, 1, [[0]]),
    ],
)
def test_processors_share_a_batch(platform, count, size, expected, monkeypatch):
    monkeypatch.setattr("ddim_jax.inference.batches.cores", lambda: 3)
    assert list(in_parts(range(count), size, SimpleNamespace(platform=platform))) == expected


def test_processors_work_at_once_and_compile_once(monkeypatch):
    """Two threads, a part of the batch each, that end only when both have begun; seven images of two parts of four."""
    monkeypatch.setattr("ddim_jax.inference.batches.cores", lambda: 2)
    monkeypatch.setattr("ddim_jax.inference.device.cores", lambda: 2)
    segmenter, both = fresh(), threading.Barrier(2, timeout=60)
    compiled, calls = segmenter._compiled, []

    def watched(*args, **how):
        calls.append((threading.current_thread().name, segmenter._made.copy()))
        return compiled(*args, **how)

    watched.clear_cache = compiled.clear_cache
    segmenter._compiled = watched
    images = [picture(k) for k in range(7)]
    expected = [segmenter.sample(image) for image in images]
    monkeypatch.setattr(device, "_finished", lambda run, _: (both.wait(), run())[1])
    calls.clear()
    found = list(segmenter.sample_each(images, OPTIONS, 8))
    assert len({name for name, _ in calls}) == 2  # threads
    assert len(calls[0][1]) + 1 == len(calls[1][1])  # the second waited for what the first compiled
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    segmenter.drop_programs()
    assert not segmenter._made


def test_threads_have_the_default_device_of_who_waits(monkeypatch):
    segmenter, seen = fresh(), []
    compiled, here = segmenter._compiled, jax.devices()[0]

    def watched(*args, **how):
        seen.append((threading.current_thread().name[:6], jax.config.jax_default_device))
        return compiled(*args, **how)

    monkeypatch.setattr(segmenter, "_compiled", watched)
    list(segmenter.sample_each([picture(0), picture(1)], OPTIONS, 2))
    assert set(seen) == {("images", None)}
    seen.clear()
    with jax.default_device(here):
        list(segmenter.sample_each([picture(0), picture(1)], OPTIONS, 2))
    assert set(seen) == {("images", here)}


def test_a_single_image_and_few_of_a_list_have_one_program(caplog, monkeypatch):
    monkeypatch.setattr("ddim_jax.inference.batches.cores", lambda: 2)
    segmenter, counts = fresh(), []
    jax.config.update("jax_log_compiles", True)  # in all threads
    try:
        for images in (picture(0), [picture(1), picture(2)], [picture(k) for k in range(9)]):
            caplog.clear()
            segmenter.segment(images, steps=1)
            counts.append(sum("compilation of jit(sample_images)" in record.message for record in caplog.records))
    finally:
        jax.config.update("jax_log_compiles", False)
    assert counts == [1, 0, 1]  # of nine images four have one program, and so have the others


def test_images_that_nobody_waits_for_are_given_up(tmp_path, monkeypatch):
    """Ctrl-C at the first image; of those behind it, the ones without a thread are not begun."""
    monkeypatch.setattr("ddim_jax.inference.batches.cores", lambda: 8)
    monkeypatch.setattr("ddim_jax.inference.device.cores", lambda: 1)
    begun, first = [], threading.Event()

    def wait(run, _):
        begun.append(run)
        first.wait(0.5)
        return run()

    def interrupted(self, started):
        raise KeyboardInterrupt

    monkeypatch.setattr(device, "_finished", wait)
    monkeypatch.setattr(Segmenter, "fetch", interrupted)
    (folder := tmp_path / "in").mkdir()
    for k in range(8):
        Image.fromarray(picture(k, SIZE, SIZE)).save(folder / f"{k}.png")
    segmenter = fresh()
    with pytest.raises(KeyboardInterrupt):
        segment_files(segmenter, folder, tmp_path / "out", batch_size=8)
    segmenter._threads.shutdown()
    assert len(begun) < 8


def test_a_thread_that_outlives_the_main_one_segments_too(monkeypatch):
    segmenter = fresh()
    images = [picture(k) for k in range(4)]
    expected = list(segmenter.sample_each(images, OPTIONS, 4))
    segmenter._threads.shutdown()  # "cannot schedule new futures", as after the end of the main thread
    for one, other in zip(segmenter.sample_each(images, OPTIONS, 4), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_error_in_a_thread_is_that_of_the_image(monkeypatch):
    segmenter = fresh()
    monkeypatch.setattr(segmenter, "_compiled", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("out of luck")))
    with pytest.raises(RuntimeError, match="out of luck"):
        list(segmenter.sample_each([picture(0), picture(1)], OPTIONS, 2))
