"""A trained checkpoint as a function from images to masks.

One compiled program handles one image with all its samples as the network's batch, so every image runs the same
executable and its result cannot depend on which other images are segmented with it. Throughput comes from starting the
next images before the results of the first are fetched.
"""

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.checkpoints import CheckpointStore, locate
from ddim_jax.checkpoints.items import check_tree
from ddim_jax.diffusion import DiffusionProcess, timestep_grid
from ddim_jax.inference.settings import Settings
from ddim_jax.io.errors import CheckpointError, InputError
from ddim_jax.io.images import resize_image, resize_map
from ddim_jax.metrics import PROTOCOLS, threshold_mask, uncertainty
from ddim_jax.models import create_model

_STARTED = 4  # images of a list that wait on the device at once


class Segmentation(NamedTuple):
    """The result for one image, at the image's own size [H, W].

    Attributes:
      mask: uint8, 1 where the probability is above the threshold, else 0.
      probability: float32 in [0, 1], as the protocol defines it.
      uncertainty: float32 in [0, 0.5], the standard deviation of the samples' probabilities; 0 with one sample.
    """

    mask: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray


class Segmenter:
    """Segments images with the EMA weights of a checkpoint; `Segmenter.load(path)` makes one.

    Images are resized to the size the network was trained at (`image_size`, square), and the probability and the
    uncertainty are resized back (bilinear) to each image's own size before the threshold is applied.

    The noise of sample i comes from fold_in(fold_in(key(seed), image_id), i), split into one key for the start and one
    for the steps (used if eta > 0); `image_id` is made of the pixels. A result therefore depends only on image, seed,
    settings and checkpoint.

    Attributes:
      config: the checkpoint's configuration.
      step: training steps the checkpoint had taken.
      image_size: height and width the network works at.
      checkpoint: the path of the checkpoint's step folder.
    """

    def __init__(self, model: nn.Module, params: Any, *, config: dict, step: int, checkpoint: str):
        self.config = config
        self.step = step
        self.checkpoint = checkpoint
        self.image_size = int(config["data"]["image_size"])
        self._params = jax.tree.map(jnp.asarray, params)
        self._process = DiffusionProcess.create(**config["diffusion"])
        self._apply = lambda params, *inputs: model.apply({"params": params}, *inputs)
        self._compiled = jax.jit(self._sample_image, static_argnames=("samples", "steps", "return_trajectory"))

    @classmethod
    def load(cls, path: str | os.PathLike, step: Literal["best", "latest"] | int = "best") -> "Segmenter":
        """Loads a checkpoint after verifying every file of it.

        Args:
          path: a run directory, its `checkpoints` folder or one step's folder.
          step: "best" (highest Dice in validation), "latest" or a number of training steps; the folder of one step
            stands for that step.

        Raises:
          CheckpointError: nothing is there, no intact checkpoint is left, or it does not fit the model it names.
        """
        directory, own_step = locate(path)
        if own_step is not None and step not in ("best", "latest", own_step):
            raise CheckpointError(
                f"{path} is the checkpoint of step {own_step}, not of step {step}; give the run instead"
            )
        step, params, metadata = CheckpointStore(directory).restore_params(step if own_step is None else own_step)
        folder = directory / str(step)
        config = metadata.get("config", {})
        missing = [name for name in ("model", "diffusion", "data", "sample") if name not in config]
        if missing:
            raise CheckpointError(f"{folder}: its config has no section {', '.join(missing)}; was it made by train.py?")
        about = config["model"]
        model = create_model(about["name"], preset=about.get("preset"), **about.get("overrides", {}))
        size = int(config["data"]["image_size"])
        mask, image = jnp.zeros((1, size, size, 1)), jnp.zeros((1, size, size, 3))
        expected = jax.eval_shape(model.init, jax.random.key(0), mask, image, jnp.zeros(1, jnp.int32))["params"]
        check_tree(folder, expected, params)
        return cls(model, params, config=config, step=step, checkpoint=str(folder))

    def settings(self, **values: Any) -> Settings:
        """Checks samples, steps, seed, threshold and protocol, with this checkpoint's defaults (`Settings.create`)."""
        return Settings.create(self.config, **values)

    def sample(
        self, image: np.ndarray, *, samples: int | None = None, steps: int | None = None, seed: int = 0
    ) -> np.ndarray:
        """Samples masks of one image.

        Args:
          image: uint8 [H, W], [H, W, 1] or [H, W, 3] (RGB).
          samples: how many; None for the checkpoint's default.
          steps: network evaluations per sample; None for the checkpoint's default.
          seed: of the noise.

        Returns:
          float32 [samples, image_size, image_size], estimates of x_0, about -1 outside and +1 inside, not clipped.

        Raises:
          InputError: the image or a setting cannot be used.
          CheckpointError: the network gives values that are not finite.
        """
        settings = self.settings(samples=samples, steps=steps, seed=seed)
        return self.fetch(self.start(image, settings))

    def trajectory(
        self, image: np.ndarray, *, steps: int | None = None, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Follows the first sample of one image through the reverse process; arguments and errors as `sample`.

        Returns:
          timesteps: int32 [steps + 1], strictly decreasing from T - 1; the last, -1, stands for the clean mask.
          x_t: float32 [steps + 1, h, w], from the starting noise to the sample, in the units of the process (a mask is
            +-mask_scale there).
          x0: float32 [steps, h, w], the estimate of the mask at each of the first `steps` timesteps, about [-1, 1].
        """
        settings = self.settings(samples=1, steps=steps, seed=seed)
        _, visited = self.start(image, settings, return_trajectory=True)
        grid = timestep_grid(self._process.schedule.num_train_timesteps, settings.steps)
        timesteps = np.append(grid, -1).astype(np.int32)
        return timesteps, self.fetch(visited.x_t[:, 0, :, :, 0]), self.fetch(visited.x0[:, 0, :, :, 0])

    def segment(
        self,
        images: np.ndarray | list[np.ndarray],
        *,
        samples: int | None = None,
        steps: int | None = None,
        seed: int = 0,
        threshold: float | None = None,
        protocol: str | None = None,
    ) -> Segmentation | list[Segmentation]:
        """Segments one image, or each of a list of images of any sizes.

        Args:
          images: uint8 [H, W], [H, W, 1] or [H, W, 3] (RGB), or a list of such.
          samples: noise samples per image; None for the checkpoint's default.
          steps: network evaluations per sample; None for the checkpoint's default.
          seed: of the noise.
          threshold: of the probability, in [0, 1]; None for the protocol's own.
          protocol: "paper" or "calibrated" (`ddim_jax.metrics.PROTOCOLS`); None for the checkpoint's default.

        Returns:
          A Segmentation at the image's own size; for a list, a list in the same order.

        Raises:
          InputError: an image or a setting cannot be used.
          CheckpointError: the network gives values that are not finite.
        """
        settings = self.settings(samples=samples, steps=steps, seed=seed, threshold=threshold, protocol=protocol)
        single = not isinstance(images, list | tuple)
        rgb = [as_rgb(image) for image in ([images] if single else images)]  # all are checked before any work

        started = start_ahead(lambda image: (image, self.start(image, settings)), rgb, _STARTED)
        results = [self.fuse(self.fetch(device), image.shape[:2], settings) for image, device in started]
        return results[0] if single else results

    def start(self, image: np.ndarray, settings: Settings, *, return_trajectory: bool = False) -> Any:
        """Starts sampling one image and returns without waiting: a device array [samples, h, w] for `fetch`."""
        rgb = as_rgb(image)
        resized = resize_image(rgb, (self.image_size, self.image_size))
        return self._compiled(
            self._params,
            resized,
            np.uint32(settings.seed),
            image_id(rgb),
            samples=settings.samples,
            steps=settings.steps,
            return_trajectory=return_trajectory,
        )

    def fetch(self, values: jax.Array) -> np.ndarray:
        """Waits for a result of `start`: float32.

        Raises:
          CheckpointError: it holds NaN or infinity.
        """
        fetched = np.asarray(values)
        if not np.isfinite(fetched).all():
            raise CheckpointError(
                f"{self.checkpoint}: sampling gave NaN or infinity; its weights or its arithmetic "
                f"(dtype {self.config['model'].get('overrides', {}).get('dtype', 'float32')}) cannot be used. "
                "Try another step, or float32."
            )
        return fetched

    def fuse(self, samples: np.ndarray, shape: tuple[int, int], settings: Settings) -> Segmentation:
        """Turns samples [S, h, w] of one image into its result at `shape` = (H, W)."""
        protocol = PROTOCOLS[settings.protocol]
        probability = _resized(protocol.probability(samples), shape)
        mask = threshold_mask(probability, settings.threshold)
        return Segmentation(mask, probability, _resized(uncertainty(samples), shape))

    def fingerprint(self) -> str:
        """SHA-256 over the weights and every part of the config that a result depends on, wherever the files lie."""
        depends = {name: self.config[name] for name in ("model", "diffusion")}
        depends |= {"image_size": self.image_size} | {name: self.config["sample"][name] for name in ("eta", "clip_x0")}
        digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self._params):
            leaf = np.asarray(leaf)
            digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
            digest.update(leaf.tobytes())
        return digest.hexdigest()

    def _sample_image(self, params, image, seed, identity, *, samples, steps, return_trajectory):
        """One image uint8 [h, w, 3] -> [samples, h, w]; with the trajectory, a pair as `DiffusionProcess.sample`."""
        own = jax.random.fold_in(jax.random.key(seed), identity)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(own, jnp.arange(samples, dtype=jnp.uint32))
        start_keys, step_keys = jnp.unstack(jax.vmap(jax.random.split)(keys), axis=1)
        noise = jax.vmap(lambda key: jax.random.normal(key, (*image.shape[:2], 1), jnp.float32))(start_keys)
        image = image.astype(jnp.float32) / 127.5 - 1.0
        eta, clip_x0 = self.config["sample"]["eta"], self.config["sample"]["clip_x0"]

        def sample(noise, key):
            return self._process.sample(
                self._apply,
                params,
                jnp.broadcast_to(image, (noise.shape[0], *image.shape)),
                noise,
                steps,
                eta=eta,
                key=key,
                clip_x0=clip_x0,
                return_trajectory=return_trajectory,
            )

        if return_trajectory:
            return sample(noise[:1], step_keys[0])
        if eta == 0.0:
            return sample(noise, None)[..., 0]
        # The sampler draws for its whole batch from one key; each sample must have its own, whatever their number.
        return jax.vmap(lambda noise, key: sample(noise[None], key))(noise, step_keys)[:, 0, :, :, 0]


def as_rgb(image: Any) -> np.ndarray:
    """Checks one image and repeats grey to three channels: uint8 [H, W, 3].

    Raises:
      InputError: another dtype or shape, or an empty image; both are named.
    """
    image = np.asarray(image)
    shape = list(image.shape)
    if image.dtype != np.uint8:
        raise InputError(
            f"image has dtype {image.dtype} and shape {shape}; expected uint8 with values 0 to 255 "
            "(scale other ranges to it first)"
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        hint = "; give several images as a list" if image.ndim == 4 else ""
        raise InputError(f"image has shape {shape}; expected [H, W], [H, W, 1] or [H, W, 3] (RGB){hint}")
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def image_id(rgb: np.ndarray) -> np.uint32:
    """The first 32 bits of SHA-256 over the shape (three little-endian uint64) and the pixel bytes of an RGB image."""
    digest = hashlib.sha256(np.asarray(rgb.shape, "<u8").tobytes())
    digest.update(rgb.tobytes())
    return np.uint32(int.from_bytes(digest.digest()[:4], "big"))


def start_ahead(start: Callable[[Any], Any], items: Iterable[Any], count: int) -> Iterator[Any]:
    """Yields `start(item)` in order; up to `count` of them have been started and not yet taken at any time."""
    waiting = deque()
    for item in items:
        waiting.append(start(item))
        if len(waiting) == count:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def _resized(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return values if values.shape == tuple(shape) else np.clip(resize_map(values, tuple(shape)), 0.0, 1.0)
