"""Images and results that are too large for the memory cost no other image anything."""

import pytest
from result_files import NAMES, contents, records
from segmenters import red_segmenter

from ddim_jax.inference import segment_files
from ddim_jax.inference import segmenter as segmenter_module
from ddim_jax.inference.segmenter import Segmenter


@pytest.mark.parametrize("where", ["start_batch", "fetch"])
def test_a_picture_too_large_for_the_memory_is_that_picture_alone(folder, out, monkeypatch, where):
    """d.png fails always, b.png beside others; JAX says so by a RuntimeError."""
    work, tried = getattr(Segmenter, where), []

    def refuses(self, given, *arguments):
        one = given[0] if where == "start_batch" else given
        height = one.shape[0]  # of the image, and on the way back of what was started
        if height in (13, 15):
            tried.append(height)
            if height == 15 or tried.count(height) == 1:
                raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 81000000000 bytes.")
        return work(self, given, *arguments)

    monkeypatch.setattr(Segmenter, where, refuses)
    summary = segment_files(red_segmenter(), folder, out, size="native")
    ((file, reason),) = summary.failed
    assert (summary.done, file, tried.count(13), tried.count(15)) == (4, str(folder / "d.png"), 2, 2)
    assert reason.startswith(f"{file}: its 300 pixels take more memory than there is; ")
    assert set(contents(out)) == {f"{name}_mask.png" for name in NAMES if name != "d"}
    assert records(out)["d"]["status"] == "failed"

    def refuses_all(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: all")

    monkeypatch.setattr(Segmenter, where, refuses_all)
    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):  # all of one size take the same memory
        segment_files(red_segmenter(), folder, out.with_name("model"))


def test_a_result_too_large_to_be_made_is_that_picture_alone(folder, out, monkeypatch):
    fuse = segmenter_module.fuse

    def refuses(samples, shape, *options):
        if shape == (15, 20):
            raise MemoryError
        return fuse(samples, shape, *options)

    monkeypatch.setattr(segmenter_module, "fuse", refuses)
    summary = segment_files(red_segmenter(), folder, out)
    assert (summary.done, [file for file, _ in summary.failed]) == (4, [str(folder / "d.png")])


def test_tiles_too_many_for_the_host_are_that_picture_alone(folder, out, monkeypatch):
    """The samples of the whole image are in the host's memory; the device holds as many tiles of every image."""
    fetch, tried = Segmenter.fetch, []

    def refuses(self, started):
        height = started.shape[0]
        if height in (13, 15):
            tried.append(height)
            if height == 15 or tried.count(height) == 1:
                raise MemoryError
        return fetch(self, started)

    monkeypatch.setattr(Segmenter, "fetch", refuses)
    summary = segment_files(red_segmenter(), folder, out, size="tiles")
    ((file, reason),) = summary.failed
    assert (summary.done, file, tried.count(13), tried.count(15)) == (4, str(folder / "d.png"), 2, 2)
    assert reason.startswith(f"{file}: its 300 pixels take more memory than there is; ")
    assert set(contents(out)) == {f"{name}_mask.png" for name in NAMES if name != "d"}

    def refuses_all(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: all")

    monkeypatch.setattr(Segmenter, "fetch", refuses_all)
    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
        segment_files(red_segmenter(), folder, out.with_name("device"), size="tiles")
