"""A run with everything that the paper's setting leaves off: v, the cosine schedule to zero, DPM-Solver++."""

import numpy as np
from tiny_runs import SIZE, metric_lines, tiny_config

from ddim_jax.inference import Segmenter
from ddim_jax.training import train

DIFFUSION = {
    "prediction": "v",
    "loss": "mse",
    "loss_weight": "plain",
    "mask_scale": 0.5,
    "timestep_power": 1.0,
    "num_train_timesteps": 50,
    "noise_schedule": "cosine",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "zero_terminal_snr": True,
}


def config(**diffusion):
    config = tiny_config(
        counts={"train": 8, "val": 4, "test": 1},
        steps=60,
        learning_rate=1e-2,
        checkpoint_every=10,
        validation_images=4,
        validation_steps=2,
    )
    config["model"]["overrides"]["dropout"] = 0.0
    config["data"].update(rotation_degrees=0.0, flips=False)
    config["diffusion"] = DIFFUSION | diffusion
    config["sample"].update(sampler="dpm++", steps=4)
    return config


def test_it_learns_and_samples(tmp_path):
    assert train(config(), tmp_path) == 60
    lines = metric_lines(tmp_path)
    validated = [line["validation_loss"] for line in lines if "validation_loss" in line]
    # Eight images, seen 60 times each; the noise and the timesteps of validation are the same every time.
    assert len(validated) == 6 and np.isfinite(validated).all()
    assert validated[-1] < 0.7 * validated[0]

    segmenter = Segmenter.load(tmp_path, step="latest")
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    samples = segmenter.sample(picture, samples=2)
    assert samples.shape == (2, SIZE, SIZE) and np.isfinite(samples).all()
    np.testing.assert_array_equal(segmenter.sample(picture, samples=2, sampler="dpm++", steps=4), samples)
    # The third of four steps is the first that differs from DDIM's.
    assert np.abs(segmenter.sample(picture, samples=2, sampler="ddim", steps=4) - samples).max() > 1e-3
