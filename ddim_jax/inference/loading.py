"""From the files of a checkpoint to a network with its weights."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from absl import logging

from ddim_jax.checkpoints.items import check_tree
from ddim_jax.checkpoints.packed import PRETRAINING
from ddim_jax.checkpoints.weights import open_weights
from ddim_jax.config import saved_config
from ddim_jax.inference.export_cache import TracedPrograms
from ddim_jax.labels import Labels
from ddim_jax.models import create_model, param_shapes
from ddim_jax.models.levels import check_memory
from ddim_jax.registry import MODELS, SAMPLERS
from ddim_jax.runtime.errors import CheckpointError, ConfigError


class LoadedNetwork(NamedTuple):
    """A network as a checkpoint has it; the fields are those of `Segmenter`.

    Attributes:
      model: as `create_model` makes it.
      params: nested dict of NumPy arrays, the EMA weights.
      config: the checkpoint's configuration.
      step: training steps the checkpoint had taken.
      checkpoint: the path of the checkpoint's step folder, or of the file of packed weights.
      weights: digest of the weights or of their files, which were hashed when they were verified.
      training_data: what it says of the images it was trained on; None if nothing.
      calibration: the record that was packed with the weights; None if they are those of a run, or have none.
      programs: of this network; None if none are kept.
    """

    model: nn.Module
    params: Any
    config: dict[str, Any]
    step: int
    checkpoint: str
    weights: str
    training_data: Mapping[str, Any] | None
    calibration: Mapping[str, Any] | None
    programs: TracedPrograms | None


def load_network(
    path: str | os.PathLike, step: str | int, programs: str | os.PathLike | None, require_sha256: str | None = None
) -> LoadedNetwork:
    """Reads a checkpoint; arguments and errors as `Segmenter.load`."""
    step, params, metadata, weights, place, file, _ = open_weights(path, step, require_sha256)
    config = saved_config(file, metadata)
    data = metadata.get("data") or {}
    if PRETRAINING in data:
        raise CheckpointError(
            f"{path}: is of a pre-training on images without masks, so it gives no mask; train from it: "
            "--config.train.init_from"
        )
    about = config["model"]
    labels = Labels.from_config(config["data"])
    model = create_model(about["name"], preset=about["preset"], mask_channels=labels.channels, **about["overrides"])
    image_size = int(config["data"]["image_size"])
    try:
        check_memory(model, image_size)
    except ConfigError as error:
        raise CheckpointError(f"{file}: {error}") from error
    # The names of traced programs say nothing of code outside the package, which may change under them.
    entries = [*MODELS.items(), *SAMPLERS.items()]
    all_ours = all(getattr(entry, "module", entry).__module__.startswith("ddim_jax.") for _, entry in entries)
    traced = TracedPrograms(programs, _depends(config), params) if programs is not None and all_ours else None
    if traced is None or not traced.known:  # what was traced with such weights fits them
        check_tree(place, param_shapes(model, image_size), params)
    if data.get("terms"):
        logging.warning("%s: %s", path, data["terms"])
    return LoadedNetwork(model, params, config, step, str(place), weights, data, metadata.get("calibration"), traced)


def fingerprint(config: Mapping[str, Any], weights: str) -> str:
    """SHA-256 over the digest of the weights and every part of the config that a result depends on."""
    return hashlib.sha256(json.dumps([_depends(config), weights], sort_keys=True).encode()).hexdigest()


def weights_digest(params: Any) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of weights, the same for a run and what is packed of it."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        leaf = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        digest.update(leaf.tobytes())
    return digest.hexdigest()


def _depends(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every part of a checkpoint's configuration that its results depend on."""
    depends = {name: config[name] for name in ("model", "diffusion")}
    labels = Labels.from_config(config["data"])
    depends |= {"image_size": int(config["data"]["image_size"])}
    depends |= {"classes": labels.class_names, "multilabel": labels.multilabel}
    return depends | {name: config["sample"][name] for name in ("eta", "clip_x0")}
