"""configs/ambiguous.py, as it is, learns the masks of all annotators in their shares, in two CPU minutes."""

import time

import numpy as np
from PIL import Image, ImageSequence

from benchmarks.quality.hypotheses import figures_of, masks_of
from configs import ambiguous
from ddim_jax.data import load_dataset
from ddim_jax.data.export import export_pairs
from ddim_jax.inference import Segmenter, segment_files
from ddim_jax.training import train


def test_its_samples_are_the_annotators_masks_in_their_shares(tmp_path):
    config, began = ambiguous.get_config(), time.process_time()
    train(config, tmp_path / "run")
    took = time.process_time() - began
    segmenter = Segmenter.load(tmp_path / "run", step="latest")
    source = load_dataset("ambiguous", "test", image_size=config.data.image_size, counts={"test": 64})
    figures = figures_of(source, [masks_of(segmenter, source[row].image) for row in range(64)])
    assert figures["mode_error"] < 0.1, figures
    assert figures["scores"]["ged_16"] < 0.16, figures
    assert took < 180, took

    few = load_dataset("ambiguous", "test", image_size=config.data.image_size, counts={"test": 8})
    export_pairs(few, tmp_path / "pairs")
    done = segment_files(segmenter, tmp_path / "pairs/images", tmp_path / "out", save=("hypotheses",)).done
    assert done == 8
    with Image.open(tmp_path / "out/test_00000_hypotheses.tif") as file:
        pages = [np.array(page) for page in ImageSequence.Iterator(file)]
    assert len(pages) > 1
    assert all(page.shape == (24, 24) and set(np.unique(page)) <= {0, 255} for page in pages)
