"""Segmenters for the tests: one whose answer is known, one that is a real, tiny network."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from tiny_runs import tiny_config

from ddim_jax import models
from ddim_jax.inference import Segmenter
from ddim_jax.inference.loading import LoadedNetwork

SIZE = 16


def config(**sample):
    about = tiny_config(seed=0)
    about["model"]["overrides"] = {
        "base_channels": 8,
        "channel_multipliers": [1, 1],
        "norm_groups": 4,
        "stem_stride": 1,
    }
    about["diffusion"] |= {"loss": "mse", "num_train_timesteps": 100, "beta_end": 0.02, "mask_scale": 0.5}
    about["data"] |= {"root": None, "image_size": SIZE}
    about["sample"] |= {"steps": 2, "samples": 3, **sample}
    return about


class ReadsRed(nn.Module):
    """Takes the red channel for the mask, whatever the noise: x_0 = gain * red + bias * t / 100."""

    size_multiple = 2

    @nn.compact
    def __call__(self, noisy_mask, image, t):
        gain = self.param("gain", nn.initializers.ones, ())
        bias = self.param("bias", nn.initializers.zeros, ())
        return gain * image[..., :1] + bias * t[:, None, None, None] / 100.0


class MixesNoise(nn.Module):
    """Depends on the noise at every step, and compiles in no time."""

    size_multiple = 2

    @nn.compact
    def __call__(self, noisy_mask, image, t):
        return jnp.tanh(noisy_mask + image[..., :1] + 0.01 * t[:, None, None, None])


@functools.cache  # compiling it is most of a test's time
def red_segmenter(*, gain=1.0, bias=0.0, size=SIZE, **sample):
    about = config(**sample)
    about["data"]["image_size"] = size
    params = {"gain": np.float32(gain), "bias": np.float32(bias)}
    return Segmenter(ReadsRed(), params, config=about, step=7, checkpoint="run/checkpoints/7")


def tiny_params(seed=0):
    about = config()["model"]
    model = models.create_model(about["name"], preset=about["preset"], **about["overrides"])
    shapes = models.param_shapes(model, SIZE)
    # Drawn, not initialised: layers that start at zero would hide what goes into them.
    rng = np.random.default_rng(seed)
    return model, jax.tree.map(lambda leaf: rng.normal(0.0, 0.2, leaf.shape).astype(np.float32), shapes)


def tiny_segmenter(model=None, seed=0, **sample):
    own, params = tiny_params(seed)
    return Segmenter(model or own, params, config=config(**sample), step=7, checkpoint="run/checkpoints/7")


def loaded_network(model, params, about, training_data=None):
    """Returns what `ddim_jax.inference.loading.load_network` would of a run with that config."""
    return LoadedNetwork(
        model=model,
        params=params,
        config=about,
        step=7,
        checkpoint="run/checkpoints/7",
        weights="digest",
        training_data=training_data,
        calibration=None,
        programs=None,
    )


def red_network(**sample):
    return loaded_network(ReadsRed(), {"gain": np.float32(1), "bias": np.float32(0)}, config(**sample))


def picture(seed, height=20, width=24):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save_archive(folder, count):
    """Saves `count` images of different sizes in two folders, one of them damaged; returns `folder`."""
    (folder / "sub").mkdir()
    for k in range(count - 1):
        name = f"sub/{k:02}.png" if k % 3 else f"{k:02}.png"
        Image.fromarray(picture(k, 12 + k % 5, 20)).save(folder / name)
    (folder / "damaged.png").write_bytes(b"not an image")
    return folder
