"""Denoising pre-training: the U-Net of a network learns from images alone before it learns masks.

It is shown images with Gaussian noise of one strength and gives the noise (Brempong et al. 2022, arXiv 2205.11423).
Its last layer, which gives colours here and masks later, is all of it that a training with masks begins anew.
"""

import dataclasses
import itertools
import os
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh

from ddim_jax import __version__
from ddim_jax.checkpoints.packed import PRETRAINING, Packed, check_output, write_packed
from ddim_jax.config import resolve_config, total_steps, without_paths
from ddim_jax.data import (
    Augmentation,
    Order,
    Source,
    Unlabelled,
    configured,
    ids_digest,
    load_dataset,
    training_indices,
)
from ddim_jax.data.pixels import PIXELS_FIELD, digest_of
from ddim_jax.diffusion.direct import Apply
from ddim_jax.labels import Labels
from ddim_jax.models import PlainUNet, create_model, param_shapes
from ddim_jax.models.levels import check_memory
from ddim_jax.models.plain_unet import Levels
from ddim_jax.models.spec import model_spec
from ddim_jax.registry import MODELS
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.once import say_once
from ddim_jax.runtime.pinned import pinned
from ddim_jax.runtime.remote import local_path
from ddim_jax.training.input_pipeline import check_split, keep_split, read_unlabelled
from ddim_jax.training.nan_guard import LossWatch, NonFiniteLoss
from ddim_jax.training.optimiser import configured_optimiser
from ddim_jax.training.sharding import data_mesh, global_batch, place
from ddim_jax.training.state import TRUNK, create_state, new_parts, pretrainable
from ddim_jax.training.step import make_train_step
from ddim_jax.training.step_options import StepOptions

GAMMA = 0.95
"""The image's share of the variance; the noise is .23 of the image, near the paper's best of .22."""


@dataclasses.dataclass(frozen=True)
class DenoisingProcess:
    """Stands in a training step in the place of the process of masks, of which there are none.

    Attributes:
      labels: three channels, those of an image, which the network's answer and the noise have too.
    """

    labels: Labels = Labels.create({"red": 1, "green": 2, "blue": 3}, multilabel=True)

    def draw_timesteps(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """int32 zeros: there is one strength of noise."""
        return jnp.zeros(shape, jnp.int32)

    def losses(
        self, apply: Apply, params: Any, mask: jax.Array, image: jax.Array, noise: jax.Array, t: jax.Array
    ) -> jax.Array:
        """The mean of (eps_theta(sqrt(gamma) image + sqrt(1 - gamma) eps) - eps)^2 of each image, float32 [batch]."""
        noisy = np.sqrt(GAMMA) * image + np.sqrt(1.0 - GAMMA) * noise
        return jnp.mean(jnp.square(apply(params, noisy).astype(jnp.float32) - noise), axis=(1, 2, 3))


@pinned()
def pretrain(config: Any, output: str | os.PathLike) -> Packed:
    """Pre-trains on the images of `data.unlabelled`; writes a file for `train.init_from`, and returns what is in it.

    The network, the size, the augmentation, batch, steps and learning rate are those of the config. Images that are
    of the validation or test split of the data set are left out, and told; those of its training split are not.

    The file holds the average of the weights, of the layers that `ddim_jax.training.state.pretrainable` names. It is
    there at the end, or not at all; the same config and images give the same bytes on one kind of device.

    Args:
      config: with the fields of `ddim_jax.schema.SCHEMA`; ml_collections or a plain mapping.
      output: ends in .safetensors; nothing is written over.

    Raises:
      ConfigError: a field cannot work, or the network has no U-Net that sees the image alone.
      InputError: as `ddim_jax.checkpoints.packed.check_output`.
      DataError: as `ddim_jax.data.load_unlabelled`, or the validation split cannot be read.
      NonFiniteLoss: the loss or a gradient is not finite; nothing is written.
      OSError: the file cannot be written.
    """
    say_once.cache_clear()
    output = local_path(output, "output")
    check_output(output)
    config = resolve_config(config)
    model, names = _pretrained_part(config)
    image_size, fields = config["data"]["image_size"], config["train"]
    unet = PlainUNet(**model.shared(mask_channels=DenoisingProcess().labels.channels))
    check_memory(unet, image_size)
    mesh = data_mesh(fields["batch_size"], accumulate=fields["accumulate"])
    pictures, validation = _pictures(config["data"])
    arrays = flatten_dict(param_shapes(model, image_size), sep=".")
    logging.info(
        f"{config['model']['name']}: pre-trains {len(names)} of {len(arrays)} arrays on {len(pictures.ids)} images "
        f"at {image_size} x {image_size}; a training will begin the others anew: {', '.join(new_parts(arrays, names))}"
    )
    keep_split(validation)  # what is left out here has to be left out by the training that begins from it
    average, steps = _trained(unet, mesh, config, pictures)
    trained = flatten_dict(average, sep=".")
    return write_packed(
        output,
        unflatten_dict({name: trained[name.removeprefix(TRUNK)] for name in names}, sep="."),
        step=steps,
        metadata={
            "config": without_paths(config),
            "data": {
                PRETRAINING: len(pictures.ids),
                "unlabelled_ids_sha256": ids_digest(pictures),
                PIXELS_FIELD: digest_of(pictures.digests),
            },
            "package_version": __version__,
        },
        note=f"denoising pre-training on {len(pictures.ids)} images without masks, to begin a training with "
        "(train.init_from)",
        terms="",
    )


def _pretrained_part(config: Mapping[str, Any]) -> tuple[nn.Module, list[str]]:
    """The network of a config, and the names of its arrays that are trained here; errors as `pretrain`."""
    about, data, init_from = config["model"], config["data"], config["train"]["init_from"]
    if not data["unlabelled"]:
        raise ConfigError("data.unlabelled is not set; expected a folder of images to pre-train on")
    if init_from is not None:
        raise ConfigError(f"train.init_from is {init_from!r}; expected none: pre-training begins anew")
    channels = Labels.from_config(data).channels
    model = create_model(about["name"], preset=about["preset"], mask_channels=channels, **about["overrides"])
    names = pretrainable(model, data["image_size"])
    if not names:
        able = [name for name in MODELS if issubclass(model_spec(name).module, Levels)]
        raise ConfigError(
            f"model.name is {about['name']!r}, which sees no image without a noisy mask; expected a network with a "
            f"U-Net on the image alone to be pre-trained: {', '.join(able)}"
        )
    return model, names


def _pictures(data: Mapping[str, Any]) -> tuple[Unlabelled, Source]:
    """The images to train on, and the validation split that they were held against; errors as `pretrain`."""
    validation = load_dataset(split="val", **configured(data))
    check_split(validation)  # a training that begins from this would be refused
    pictures = read_unlabelled(data, {"val": validation}, of=("val", "test"))
    for line in pictures.told:
        logging.info(line)
    return pictures, validation


def _trained(unet: nn.Module, mesh: Mesh, config: Mapping[str, Any], pictures: Unlabelled) -> tuple[Any, int]:
    """The average of the weights of `unet`, and the steps it was trained for.

    Raises:
      NonFiniteLoss: as `pretrain`.
    """
    fields, data, seed = config["train"], config["data"], config["seed"]
    steps = total_steps(fields["steps"], fields["epochs"], fields["batch_size"], len(pictures.ids))
    optimiser = configured_optimiser(fields, steps)
    options = StepOptions(
        seed=seed,
        ema_decay=fields["ema_decay"],
        augmentation=Augmentation.from_config(data),
        accumulate=fields["accumulate"],
    )
    step = make_train_step(unet, DenoisingProcess(), optimiser, mesh, options)
    state = place(mesh, create_state(unet, optimiser, data["image_size"], seed))
    nowhere = np.zeros(pictures.images.shape[:3], np.uint8)
    resident = place(mesh, {"images": pictures.images, "masks": nowhere})
    watch = LossWatch()
    try:
        order = training_indices(len(pictures.ids), Order(fields["batch_size"], seed))
        for done, rows in enumerate(itertools.islice(order, steps), start=1):
            state, metrics = step(state, {**resident, **global_batch(mesh, {"row": rows})})
            watch.add(done, metrics)
            if done % fields["log_every"] == 0 or done == steps:
                logging.info("step %d/%d: loss %.4f", done, steps, watch.drain()["loss"])
    except NonFiniteLoss as error:
        raise NonFiniteLoss(
            f"{error}; stopped, nothing was written. Start again with a lower train.learning_rate, more "
            "train.warmup_steps or a train.gradient_clip of 1."
        ) from error
    return jax.device_get(state.ema_params), steps
