"""A small diffusion network learns the masks of all annotators, at about their frequencies, in seconds."""

import numpy as np
from PIL import Image, ImageSequence

from benchmarks.quality.hypotheses import config_of, figures_of, masks_of
from ddim_jax.data import load_dataset
from ddim_jax.data.export import export_pairs
from ddim_jax.inference import Segmenter, segment_files
from ddim_jax.training import train


def test_its_samples_are_several_masks_and_not_their_mean(tmp_path):
    config = config_of("lightweight_ddim", 400, 0)
    config.data.image_size, config.train.warmup_steps = 16, 50
    config.data.counts.update(train=256, val=4, test=8)
    train(config, tmp_path / "run")
    segmenter = Segmenter.load(tmp_path / "run", step="latest")
    source = load_dataset("ambiguous", "test", image_size=16, counts={"test": 8})
    figures = figures_of(source, [masks_of(segmenter, source[row].image) for row in range(8)])
    assert figures["mode_error"] < 0.3, figures
    assert min(figures["modes"].values()) > 0.01, figures
    assert figures["nearest_iou"] > 0.6, figures
    assert figures["scores"]["ged_16"] < 0.5, figures

    export_pairs(source, tmp_path / "pairs")
    done = segment_files(segmenter, tmp_path / "pairs/images", tmp_path / "out", save=("hypotheses",)).done
    assert done == 8
    with Image.open(tmp_path / "out/test_00000_hypotheses.tif") as file:
        pages = [np.array(page) for page in ImageSequence.Iterator(file)]
    assert len(pages) > 1
    assert all(page.shape == (16, 16) and set(np.unique(page)) <= {0, 255} for page in pages)
