"""The page docs/how-to/extend.md, executed: its module is imported, and a run uses all that it registers."""

import csv
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ddim_jax import registry
from ddim_jax.aggregation import PROTOCOLS, ensemble_probability, ensemble_threshold
from ddim_jax.labels import Labels

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "extend.md"
KINDS = {
    "MODELS": "three_layers",
    "SAMPLERS": "renoise",
    "LOSSES": "tversky",
    "DATASETS": "squares",
    "TRANSFORMS": "speckle",
    "READERS": "numpy",
    "WRITERS": "box",
    "METRICS": "area_error",
    "HYPOTHESIS_METRICS": "spread",
    "ENSEMBLES": "unanimous",
}


@pytest.fixture(scope="module")
def my_module(tmp_path_factory):
    """The code of the page as the module that it speaks of; nothing of it stays registered."""
    registries = {kind: getattr(registry, kind) for kind in KINDS}
    before = {kind: {name for name in entries} for kind, entries in registries.items()}
    folder = tmp_path_factory.mktemp("plugins")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (folder / "my_module.py").write_text("\n".join(blocks), encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield "my_module"
    sys.path.remove(str(folder))
    sys.modules.pop("my_module", None)
    for kind, entries in registries.items():
        for name in set(entries) - before[kind]:
            del entries._entries[name]


def test_the_page_has_one_of_each(my_module):
    registry.import_plugins((my_module,))
    for kind, name in KINDS.items():
        assert name in getattr(registry, kind), kind


def test_the_table_has_the_folder_of_each_kind():
    page = PAGE.read_text(encoding="utf-8")
    for kind in KINDS:
        folder = getattr(registry, kind)._folder.removeprefix("ddim_jax.").replace(".", "/")
        assert re.search(rf"^\| \[.*\| one file.*\| `{folder}/` \|$", page, re.MULTILINE), folder


def test_its_ensembles_by_hand(my_module):
    """Fuses the probabilities (.75, .4) and (.95, .1); the protocol's threshold is .5."""
    registry.import_plugins((my_module,))
    samples = np.array([[[0.5, -0.2]], [[0.9, -0.8]]], np.float32)
    np.testing.assert_allclose(ensemble_probability(samples, PROTOCOLS["mean"], "highest"), [[0.95, 0.4]], atol=1e-6)
    np.testing.assert_array_equal(ensemble_probability(samples, PROTOCOLS["mean"], "unanimous"), [[1, 0]])
    assert ensemble_threshold(PROTOCOLS["paper"], "highest") == 0.9
    assert ensemble_threshold(PROTOCOLS["paper"], "unanimous") == 0.5


def test_its_loss_by_hand(my_module):
    registry.import_plugins((my_module,))
    tversky = registry.LOSSES.get("tversky")
    # Of one class p = .5 twice, one of them right; the third pixel is ignored.
    logits, x0 = np.float32([0, 0, 5]).reshape(1, 1, 3, 1), np.float32([1, -1, 0]).reshape(1, 1, 3, 1)
    ignoring = Labels.create({"lung": 1}, ignore=[9])
    np.testing.assert_allclose(tversky(logits, x0, ignoring), [1 - 1.5 / (0.5 + 0.3 * 0.5 + 0.7 * 0.5 + 1)], rtol=1e-6)
    # Of two exclusive ones background, lung and heart have .25, .5 and .25, and lung is right.
    logits, x0 = np.log(np.float32([[[[0.25, 0.5, 0.25]]]])), np.float32([[[[-1, 1, -1]]]])
    exclusive = Labels.create({"lung": 1, "heart": 2})
    found = tversky(logits, x0, exclusive)
    np.testing.assert_allclose(found, [1 - 1.5 / (0.5 + 0.3 * 0.25 + 0.7 * 0.5 + 1)], rtol=1e-6)
    # Of two that may overlap both have a sigmoid: .5 and .5.
    both = Labels.create({"lung": 1, "heart": 2}, multilabel=True)
    found = tversky(np.zeros((1, 1, 1, 2), np.float32), np.float32([[[[1, -1]]]]), both)
    np.testing.assert_allclose(found, [1 - 1.5 / (0.5 + 0.3 * 0.5 + 0.7 * 0.5 + 1)], rtol=1e-6)


def test_its_pairs_of_files_are_read_as_the_config_says(my_module, tmp_path):
    from ddim_jax.data import groups_of, load_dataset
    from ddim_jax.imageio.images import ReadOptions

    registry.import_plugins((my_module,))
    (tmp_path / "val").mkdir()
    for name in ("ann_1", "ann_2", "ben_1"):
        Image.fromarray(np.uint8([[0, 60], [200, 255]])).save(tmp_path / f"val/{name}.png")
        Image.fromarray(np.uint8([[0, 2], [2, 7]])).save(tmp_path / f"val/{name}_mask.png")
    labels = Labels.create({"lung": 2, "heart": 7})
    source = load_dataset("scans", "val", root=tmp_path, labels=labels, reading=ReadOptions(invert=True))
    assert source.ids == ("ann_1", "ann_2", "ben_1") and groups_of(source) == ("ann", "ann", "ben")
    np.testing.assert_array_equal(source[0].image[..., 0], [[255, 195], [55, 0]])
    np.testing.assert_array_equal(source[0].mask, [[0, 1], [1, 2]])


def test_pairs_are_not_read_without_what_the_config_says():
    from ddim_jax.data import PairSource

    with pytest.raises(TypeError, match=r"missing 2 required keyword-only arguments: 'labels' and 'reading'"):
        PairSource("scans", [])


def test_what_it_says_can_be_exported(my_module):
    from segmenters import SIZE, MixesNoise, config, loaded_network

    from ddim_jax.export.program import create_program
    from ddim_jax.runtime.errors import InputError
    from ddim_jax.sampling_options import SamplingOptions

    registry.import_plugins((my_module,))
    network = loaded_network(MixesNoise(), {}, config(steps=3, samples=2))
    given = {"size": "model", "sampler": "renoise"}
    program = create_program(network, SamplingOptions.create(network.config, ensemble="unanimous", **given))
    assert program.inputs["step_noise"] == (2, 3, SIZE, SIZE, 1)
    with pytest.raises(InputError, match=r"ensemble is .highest., which cannot be exported"):
        create_program(network, SamplingOptions.create(network.config, ensemble="highest", **given))


def test_its_config_trains_the_network_as_folder_trains_its_own(my_module):
    from configs import folder
    from ddim_jax.config import resolve_config

    (block,) = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    module = {}
    exec(block, module)
    found, own = resolve_config(module["get_config"]()), resolve_config(folder.get_config())
    assert (found.pop("plugins"), own.pop("plugins")) == (["my_module"], [])
    assert found.pop("model") == {"name": "three_layers", "preset": None, "overrides": {}}
    assert found == {name: value for name, value in own.items() if name != "model"}
    assert found["diffusion"]["prediction"] == "x0"


def test_files_that_its_reader_fails_at_are_told_and_the_others_segmented(my_module, tmp_path):
    from segmenters import SIZE, red_segmenter

    from ddim_jax.inference import segment_files

    registry.import_plugins((my_module,))
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    red = np.zeros((SIZE, SIZE, 3), np.uint8)
    red[:, 4:, 0] = 255
    np.save(folder / "good.npy", red)
    content = (folder / "good.npy").read_bytes()
    broken = {"cut": content[:-9], "empty": b"", "header": b"\x93NUMPY\x01\x00\x05\x00{'a'}", "none": b"no array"}
    for name, part in broken.items():
        (folder / f"{name}.npy").write_bytes(part)
    done = segment_files(red_segmenter(), folder, out)
    assert (done.done, len(done.failed)) == (1, len(broken))
    assert np.asarray(Image.open(out / "good_mask.png")).astype(bool).sum() == SIZE * (SIZE - 4)
    records = {one["name"]: one for one in map(json.loads, (out / "index.jsonl").read_text().splitlines())}
    for name in broken:
        told = rf"^{folder}/{name}\.npy: the reader 'numpy' failed at .*, line \d+: (ValueError|EOFError)$"
        assert records[name]["status"] == "failed" and re.match(told, records[name]["reason"])


def test_a_run_uses_all_that_it_registers(my_module, tmp_path):
    from configs import base
    from ddim_jax.cli import sample
    from ddim_jax.evaluation import evaluate_checkpoint
    from ddim_jax.training import train

    registry.import_plugins((my_module,))
    config = base.get_config()
    config.plugins = (my_module,)
    config.model.name = "three_layers"
    config.model.overrides.width = 8
    config.data.update({"name": "squares", "image_size": 16, "transforms": ("speckle",)})
    config.diffusion.update({"prediction": "x0", "loss": "tversky"})
    config.train.update({"batch_size": 4, "epochs": 0.0, "steps": 2})
    config.sample.update({"sampler": "renoise", "steps": 2, "samples": 2, "ensemble": "unanimous"})
    run, results = tmp_path / "run", tmp_path / "results"
    assert train(config, run) == 2

    metrics, _ = evaluate_checkpoint(run, "test", output_dir=results, figures=False)
    assert metrics["ensemble"] == "unanimous" and metrics["sampler"] == "renoise"
    assert metrics["metrics"]["area_error"].startswith("|predicted - true area|")
    rows = list(csv.DictReader((results / "per_image.csv").open()))
    assert [row["id"] for row in rows] == [f"test_{index}" for index in range(8)]
    mean = metrics["protocols"]["mean"]["per_image"]["area_error"]["mean"]
    assert np.mean([float(row["area_error"]) for row in rows]) == pytest.approx(mean)

    picture = registry.DATASETS.get("squares")("test", SimpleNamespace(image_size=16))[0].image
    np.save(tmp_path / "picture.npy", picture)
    arguments = ["--ckpt", run, "--input", tmp_path / "picture.npy", "--output", results, "--save", "mask,box"]
    assert sample.run(sample.parse_arguments(None, [str(argument) for argument in arguments])) == 0
    mask = np.asarray(Image.open(results / "picture_mask.png"))
    rows, columns = np.nonzero(mask)
    found = json.loads((results / "picture_box.json").read_text())
    expected = [rows.min(), columns.min(), rows.max(), columns.max()] if rows.size else None
    assert found["source"] == "picture.npy" and found["box"] == expected
