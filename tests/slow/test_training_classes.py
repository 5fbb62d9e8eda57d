"""Three classes through training, sampling and evaluation with each network, sampler and ensemble."""

import json

import numpy as np
import pytest
from PIL import Image
from test_training_systems import OWN, SIZE, config_of
from tiny_runs import tiny_config

from ddim_jax.data import load_dataset
from ddim_jax.data.export import export_pairs
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.imageio.images import read_mask
from ddim_jax.inference import Segmenter, segment_files
from ddim_jax.labels import Labels
from ddim_jax.registry import ENSEMBLES, SAMPLERS
from ddim_jax.training import train

CLASSES = {"right lung": 1, "left lung": 2, "heart": 3}


@pytest.mark.parametrize("name", OWN)
def test_every_network_is_trained_sampled_and_scored(name, tmp_path):
    config = config_of(name, steps=2)
    config["data"] |= {"labels": CLASSES, "flips": False}
    config["sample"]["flips"] = False
    assert train(config, tmp_path / "run") == 2
    segmenter = Segmenter.load(tmp_path / "run")
    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    samplers = [None] if name == "unet" else SAMPLERS if name == "lightweight_ddim" else ["ddim"]
    for sampler in samplers:
        for ensemble in ENSEMBLES:
            given = {"sampler": sampler, "ensemble": ensemble, "steps": 1 if sampler is None else 2}
            result = segmenter.segment(image, protocol="mean", **given)
            assert result.mask.shape == result.uncertainty.shape == (20, 24)
            assert result.probability.shape == (20, 24, 3) and set(np.unique(result.mask)) <= {0, 1, 2, 3}
    metrics, _ = evaluate_checkpoint(tmp_path / "run", "val", output_dir=tmp_path / "scores")
    assert set(metrics["protocols"]["mean"]["classes"]) == set(CLASSES)
    assert (tmp_path / "scores/figures/grid.png").is_file()


def test_files_are_label_maps_with_a_palette_and_taken_up_again(tmp_path):
    config = tiny_config(steps=3)
    config["data"] |= {"labels": {"lung": [1, 2], "soft": [2, 3]}, "multilabel": True}
    train(config, tmp_path / "run")
    segmenter = Segmenter.load(tmp_path / "run")
    export_pairs(load_dataset("phantom", "test", image_size=SIZE, counts={"test": 2}), tmp_path / "in")
    save = ("mask", "overlay", "probability", "uncertainty")
    assert segment_files(segmenter, tmp_path / "in/images", tmp_path / "out", save=save).done == 2
    assert segment_files(segmenter, tmp_path / "in/images", tmp_path / "out", save=save).kept == 2
    labels = Labels.create({"lung": [1, 3], "soft": [2, 3]}, multilabel=True)
    for line in (tmp_path / "out/index.jsonl").read_text().splitlines():
        record = json.loads(line)
        mask = read_mask(tmp_path / f"out/{record['name']}_mask.png", labels)
        assert record["areas"] == {
            name: int(labels.of_class(mask, k).sum()) for k, name in enumerate(("lung", "soft"), start=1)
        }
        assert Image.open(tmp_path / f"out/{record['name']}_probability.png").size == (2 * SIZE, SIZE)
