"""Several images to one program: the same bits, in order, and nobody lost for the fault of a neighbour."""

import functools
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image
from segmenters import SIZE, MixesNoise, config, picture, red_segmenter, tiny_params

from ddim_jax.cli.sample import parse_arguments
from ddim_jax.diffusion import DiffusionProcess
from ddim_jax.inference import Segmenter, segment_files, stream
from ddim_jax.inference.batches import activation_bytes, choose_batch_size, in_batches
from ddim_jax.inference.segmentation import sample_image, sample_images
from ddim_jax.models import Network
from ddim_jax.preprocessing import Prepared
from ddim_jax.runtime.errors import CheckpointError, InputError
from ddim_jax.sampling_options import SamplingOptions

OPTIONS = SamplingOptions.create(config())


@functools.cache
def mixing():
    return Segmenter(MixesNoise(), {}, config=config(steps=1, samples=2, flips=True), step=1, checkpoint="x")


def records(out):
    lines = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    return {line["name"]: line for line in lines}


def contents(out):
    return {path.relative_to(out): path.read_bytes() for path in out.rglob("*.png")}


def write(folder, count, shape=lambda k: (12 + k, 20)):
    folder.mkdir()
    for k in range(count):
        Image.fromarray(picture(k, *shape(k))).save(folder / f"{k:02}.png")
    return folder


def test_a_network_gives_a_picture_the_same_bits_in_any_batch(tiny):
    images = [picture(seed, 14 + seed, 20) for seed in range(4)]
    alone = [tiny.segment(image) for image in images]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2]):
        together = tiny.segment([images[k] for k in order], batch_size=3)
        for k, result in zip(order, together, strict=True):
            for found, expected in zip(result[:4], alone[k][:4], strict=True):
                assert np.asarray(found).tobytes() == np.asarray(expected).tobytes()
    assert alone[0].uncertainty.std() > 0 and tiny.segment([]) == []


def test_pictures_together_are_what_each_is_alone():
    """All samples of all images are one batch of the network, which is the way of a GPU."""
    process, network, seen = DiffusionProcess.create(prediction="x0"), Network(MixesNoise()), []
    options = SamplingOptions(steps=2, samples=5, sampler="ddim", eta=1.0, flips=True)
    images, identities = np.stack([picture(seed, SIZE, SIZE) for seed in range(3)]), np.arange(7, 10, dtype=np.uint32)

    def watched(params, mask, image, t):
        seen.append(mask.shape)
        return network(params, mask, image, t)

    together, alone = (
        jax.jit(functools.partial(sample, process, watched, {}, options=options))
        for sample in (sample_images, sample_image)
    )
    found = together(images, np.uint32(2), identities)
    assert set(seen) == {(15, SIZE, SIZE, 1)}
    for k in range(3):
        np.testing.assert_allclose(found[k], alone(images[k], np.uint32(2), identities[k]), atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.1


def test_neighbours_of_one_shape_go_together_and_two_batches_wait():
    shapes = [1, 1, 1, 1, 1, 2, 1, 1]
    pictures = [Prepared(np.zeros((side, side, 3)), (side, side), k) for k, side in enumerate(shapes)]
    log, cancelled = [], []

    def start(batch):
        log.append([one.identity for one in batch])
        return [SimpleNamespace(k=k, cancel=functools.partial(cancelled.append, k)) for k in log[-1]]

    taken = []
    for one in in_batches(pictures, 2, start):
        taken.append(one.k)
        assert sum(map(len, log)) - len(taken) < 4
    assert taken == list(range(8)) and log == [[0, 1], [2, 3], [4], [5], [6, 7]] and not cancelled
    assert list(in_batches([], 3, start)) == []
    given_up = in_batches(pictures, 2, start)
    next(given_up)
    given_up.close()
    assert cancelled == [1, 2, 3]


def test_the_seconds_of_a_batch_are_those_of_the_device_whichever_image_is_first(monkeypatch):
    """Two images take 6 seconds of the device, the two of the next batch 4, and what cannot be read none."""
    clock, took, said = [100.0], {"a": 6.0, "c": 4.0}, []
    monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    class Segmenter:
        def start_batch(self, pictures, options, size):
            return list(pictures)

        def fetch(self, device):
            clock[0] += took.get(device, 0.0)
            return device

    options = SimpleNamespace(size="model", window=None, invert=False)
    work = SimpleNamespace(context=SimpleNamespace(options=options))
    results = SimpleNamespace(finish=lambda loaded, samples, seconds: said.append((samples, seconds)))
    pool = SimpleNamespace(submit=lambda call, *arguments: call(*arguments))
    one = stream.Stream(Segmenter(), work, [], results)
    running = []
    for names in ((None, "a", "b"), (None, "c", None, "d"), (None, None)):
        running += one._start_device([(1, SimpleNamespace(prepared=name)) for name in names], 4)
    clock[0] += 1.0  # the device is at work, and an image of another batch is being written
    for _, loaded, device, batch in running:
        one._start_writing(pool, loaded, device, batch)
    assert [pair for pair in said if pair[0]] == [("a", 3.5), ("b", 3.5), ("c", 2.0), ("d", 2.0)]
    assert [samples for samples, _ in said].count(None) == 5


@pytest.mark.parametrize(
    ("platform", "stats", "given", "expected"),
    [
        ("cpu", None, {}, 8),  # four for each of two processors
        ("cpu", None, {"steps": 2}, 4),
        ("cpu", None, {"steps": 50}, 2),
        ("cpu", None, {"count": 7}, 2),  # whose program is that of a single image
        ("cpu", None, {"count": 1}, 1),
        ("cpu", None, {"bytes": 2**25}, 1),  # 96 MiB of layers: its loops keep both busy
        ("cpu", None, {"size": "native"}, 1),
        ("gpu", None, {}, 1),
        ("gpu", {"bytes_limit": 2**40}, {}, 64),
        ("gpu", {"bytes_limit": 2 * 3 * 5000}, {}, 4),  # 3 samples of 1000 bytes: five images fit into half of it
        ("gpu", {"bytes_limit": 100}, {}, 1),
        ("gpu", {"bytes_limit": 2**40}, {"count": 5}, 8),
        ("gpu", {"bytes_limit": 2**40}, {"count": 1}, 1),
        ("gpu", {"bytes_limit": 2**40}, {"size": "native"}, 1),
    ],
)
def test_network_and_device_decide(platform, stats, given, expected, monkeypatch):
    monkeypatch.setattr("ddim_jax.inference.batches.cores", lambda: 2)
    machine = SimpleNamespace(platform=platform, memory_stats=lambda: stats)
    options = SamplingOptions.create(config(), size=given.get("size"), steps=given.get("steps", 1))
    found = choose_batch_size(machine, lambda: given.get("bytes", 1000), options, given.get("count", 1000))
    assert found == expected


def test_the_layers_of_a_network_are_counted():
    model, params = tiny_params()
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    found = activation_bytes(model, shapes, SIZE)
    assert 10 * SIZE * SIZE * 8 * 4 < found < 100 * SIZE * SIZE * 8 * 4  # layers of 8 channels, some at half the size
    assert activation_bytes(model, shapes, 2 * SIZE) > 3 * found


@pytest.mark.parametrize("given", [0, True, 2.0, "4", 5000])
def test_what_is_no_batch_size_is_refused(given):
    with pytest.raises(InputError, match=r"batch_size is .*; expected a whole number from 1 to 4096"):
        red_segmenter().segment([picture(0)], batch_size=given)
    assert red_segmenter().batch_size(OPTIONS, 7) == 7 and red_segmenter().batch_size(OPTIONS, None, 1) == 1


def test_the_commands_take_it(capsys):
    base = ["--ckpt", "x", "--input", "i", "--output", "o"]
    assert parse_arguments(None, [*base, "--batch-size", "8"]).batch_size == 8
    assert parse_arguments(None, base).batch_size is None
    with pytest.raises(SystemExit):
        parse_arguments(None, [*base, "--batch-size", "0"])
    assert "batch_size is 0; expected a whole number from 1 to 4096" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["model", "native", "tiles"])
def test_an_archive_in_batches_is_the_same_to_the_bit(tmp_path, size):
    """Seven images, the third damaged; of two padded sizes where they keep their own. Restarted with another size."""
    folder = write(tmp_path / "in", 7, lambda k: (40 if k % 3 else 70, 50))
    (folder / "02.png").write_bytes((folder / "02.png").read_bytes()[:50])
    for batch_size, name in ((None, "one"), (3, "three")):
        summary = segment_files(mixing(), folder, tmp_path / name, size=size, batch_size=batch_size)
        assert (summary.done, [file[-6:] for file, _ in summary.failed]) == (6, ["02.png"])
    assert contents(tmp_path / "one") == contents(tmp_path / "three")
    assert len(contents(tmp_path / "one")) == 6
    before = contents(tmp_path / "three")
    for gone in ("01_mask.png", "04_mask.png"):
        (tmp_path / "three" / gone).unlink()
    summary = segment_files(mixing(), folder, tmp_path / "three", size=size, batch_size=1)
    assert (summary.done, summary.kept) == (2, 4) and contents(tmp_path / "three") == before
    assert all(line["seconds"] > 0 for line in records(tmp_path / "three").values() if line["status"] == "ok")


def test_a_batch_is_full_unless_nothing_more_can_come(tmp_path, monkeypatch):
    folder, sizes, start = write(tmp_path / "in", 10), [], Segmenter.start_batch
    monkeypatch.setattr(
        Segmenter, "start_batch", lambda self, batch, *given: sizes.append(len(batch)) or start(self, batch, *given)
    )
    segment_files(red_segmenter(), folder, tmp_path / "out", batch_size=4, prefetch=1)
    assert sizes == [4, 4, 2]


def test_a_picture_that_gives_nan_does_not_lose_those_under_way(tmp_path, monkeypatch):
    folder, finite = write(tmp_path / "in", 8), Segmenter._finite
    monkeypatch.setattr("ddim_jax.inference.batches.cores", lambda: 1)
    monkeypatch.setattr(Segmenter, "_finite", lambda self, started: _refuse_row(finite, self, started))
    with pytest.raises(CheckpointError, match="sampling gave NaN"):
        segment_files(red_segmenter(), folder, tmp_path / "out", batch_size=4)
    found = set(records(tmp_path / "out"))
    assert {"00", "02", "03"} <= found and "01" not in found
    assert {f"{name}_mask.png" for name in found} == {path.name for path in (tmp_path / "out").glob("*.png")}


def _refuse_row(finite, segmenter, started):
    if started.row == 1:
        raise CheckpointError("sampling gave NaN")
    return finite(segmenter, started)


def test_a_batch_too_large_for_the_memory_is_done_one_by_one(tmp_path, monkeypatch):
    folder, start, tried = write(tmp_path / "in", 3), Segmenter.start_batch, []

    def refuses(self, pictures, options, size):
        tried.append((len(pictures), size))
        if size > 1:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 81000000000 bytes.")
        return start(self, pictures, options, size)

    monkeypatch.setattr(Segmenter, "start_batch", refuses)
    summary = segment_files(red_segmenter(), folder, tmp_path / "out", size="native", batch_size=3)
    assert (summary.done, summary.failed) == (3, []) and tried == [(3, 3), (1, 1), (1, 1), (1, 1)]


def test_where_bits_depend_on_it_another_batch_size_is_told(tmp_path, monkeypatch, caplog):
    folder = write(tmp_path / "in", 2)
    segment_files(red_segmenter(), folder, tmp_path / "cpu", batch_size=2)
    assert "batch_size" not in json.loads((tmp_path / "cpu" / "settings.json").read_text())["surroundings"]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    segment_files(red_segmenter(), folder, tmp_path / "out", batch_size=2)
    (tmp_path / "out" / "00_mask.png").unlink()
    caplog.clear()
    assert segment_files(red_segmenter(), folder, tmp_path / "out", batch_size=1).done == 1
    assert "batch_size was 2, is 1. Results may differ in their last bits" in caplog.text
