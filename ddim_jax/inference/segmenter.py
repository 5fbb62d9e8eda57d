"""A trained checkpoint as a function from images to masks."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import numpy as np

from ddim_jax.diffusion import timestep_grid
from ddim_jax.inference.calibration import Calibrated, load_calibration, load_reference
from ddim_jax.inference.device import DeviceSampler
from ddim_jax.inference.export_cache import TracedPrograms
from ddim_jax.inference.hypotheses import Hypothesis, hypotheses_of
from ddim_jax.inference.loading import fingerprint, load_network, weights_digest
from ddim_jax.inference.segmentation import Segmentation, fuse
from ddim_jax.inference.unlikeness import Reference, describe_image
from ddim_jax.preprocessing import as_rgb
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.pinned import pinned
from ddim_jax.sampling_options import SamplingOptions

_CALIBRATIONS_HELD = 64


class Segmenter(DeviceSampler):
    """Segments images with the EMA weights of a checkpoint; `load` and `from_pretrained` make one.

    The network works at one of three sizes. "model", the default: images are resized to the size it was trained at
    (`image_size`, square), and the probability and the uncertainty are resized back (bilinear) to each image's own size
    before the threshold is applied. "native": nothing is resized; the image is padded below and to the right with its
    edge values, both sides up to a multiple of 64 pixels (`bucket_shape`), and the result is cropped back. Each padded
    shape compiles a program. The network sees the padding, so the result depends on it; it is made of the image alone.

    "tiles": nothing is resized either; tiles of `image_size`, each sharing half with its neighbours, are segmented like
    images of their own and blended, the middle of a tile counting more than its borders. It suits networks trained on
    crops (`data.crop`), whose default it is. The device holds a few tiles at a time, the computer's memory the samples
    of the whole image.

    A native size far from `image_size` shows the network structures at a scale it was not trained on. Time and memory
    grow with the number of pixels, and in the attention layers faster: one at h x w pixels holds (h w)^2 numbers per
    sample, so twice the side takes 16 times the memory there.

    With `flips`, sample i sees the image in orientation i mod 4 (as it is, mirrored left to right, top to bottom, both)
    and its mask is mirrored back: for networks trained with flips, an ensemble that differs by more than its noise. The
    samples of a network without diffusion differ by nothing else: four samples are one of each orientation.

    The noise of sample i comes from fold_in(fold_in(key(seed), image_id), i), split into one key for the start and one
    for the steps (used by DDPM, or if eta > 0); `image_id` is made of the pixels. A result therefore depends only on
    image, options and checkpoint.

    Attributes:
      config: the checkpoint's configuration.
      step: training steps the checkpoint had taken.
      image_size: height and width the network was trained at.
      labels: the classes of the masks.
      checkpoint: the path of the checkpoint's step folder, or of the file of packed weights.
      is_packed: True of a file of packed weights, False of the checkpoint of a run.
      training_data: what the checkpoint says of the images it was trained on, {} if nothing; "train_ids_sha256" is
        `ddim_jax.data.ids_digest` of the training split; of packed weights "note" and "terms" say what they were
        trained on and how they may be used.
      others: the checkpoints beside this one in an `Ensemble`; ().
      packed_calibration: the record of `calibration.json` in a file of packed weights; None if there is none.
    """

    others: tuple["Segmenter", ...] = ()

    @pinned()
    def __init__(
        self,
        model: nn.Module,
        params: Any,
        *,
        config: dict,
        step: int,
        checkpoint: str,
        weights: str | None = None,
        training_data: Mapping[str, Any] | None = None,
        calibration: Mapping[str, Any] | None = None,
        programs: TracedPrograms | None = None,
    ):
        super().__init__(model, params, config=config, checkpoint=checkpoint, programs=programs)
        self.step = step
        self.is_packed = Path(checkpoint).is_file()
        self.training_data = dict(training_data or {})
        self.packed_calibration = calibration
        self._weights = weights
        self._calibrations: dict[SamplingOptions, tuple[Calibrated | None, str]] = {}
        self._reference: tuple[Reference | None, str] | None = None

    @classmethod
    @pinned()
    def load(
        cls,
        path: str | os.PathLike,
        step: Literal["best", "latest"] | int = "best",
        programs: str | os.PathLike | None = None,
        require_sha256: str | None = None,
    ) -> "Segmenter":
        """Loads a checkpoint after verifying every file of it but the training state, which is not read.

        Args:
          path: a run directory, its `checkpoints` folder, one step's folder, a file of `ddim-jax pack`, or the name of
            packaged weights (`ddim_jax.pretrained`).
          step: "best" (highest Dice in validation), "latest" or a number of training steps; the folder of one step
            stands for that step.
          programs: a folder in which the traced programs are kept, so that the next process with this network starts
            faster (`TracedPrograms`); None keeps nothing.
          require_sha256: the SHA-256 of the step's manifest or of the file, which `ddim-jax doctor --ckpt` shows: any
            other is refused before its configuration is looked at. A manifest tells damage, and this number forgery.

        Raises:
          CheckpointError: nothing is there, no intact checkpoint is left, it does not fit the model it names, or it is
            not the one that is required.
          InputError: `step` is none of these.
        """
        return cls(**load_network(path, step, programs, require_sha256)._asdict())

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike, **given: Any) -> "Segmenter":
        """Loads packaged weights by name, or a file of `ddim-jax pack`; what its terms are is logged as a warning.

        Args:
          name: such as "lung_xray"; `ddim_jax.pretrained.SHA256` has all names. What `load` takes works too.
          **given: `programs` and `require_sha256` of `load`.

        Raises:
          CheckpointError: as `load`; or there is no such name, or it is that of a local path as well.
        """
        return cls.load(name, **given)

    @property
    def one_pass(self) -> bool:
        """True if the network gives the mask in one pass, without diffusion: there is no reverse process to follow."""
        return self.config["diffusion"]["num_train_timesteps"] is None

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The paths of all checkpoints that masks are made with: `checkpoint`, and those of `others`."""
        return self.checkpoint, *(other.checkpoint for other in self.others)

    def evaluations(self, options: SamplingOptions) -> int:
        """Counts the evaluations of a network that one image takes with these options."""
        return options.steps * options.samples

    def options(self, options: SamplingOptions | None = None, **given: Any) -> SamplingOptions:
        """Returns checked options: the fields `given`, the rest from `options` or, without, from the checkpoint.

        Raises:
          InputError, TypeError: as `SamplingOptions.create`; or `options` are of another class.
        """
        if options is None:
            return SamplingOptions.create(self.config, **given)
        if not isinstance(options, SamplingOptions):
            raise TypeError(f"options is a {type(options).__name__}; expected SamplingOptions; give others by name")
        base = options.checked().as_given()
        fused = {name: base[name] for name in ("protocol", "ensemble")}
        if base["threshold"] == SamplingOptions.create(self.config, **fused).threshold:
            del base["threshold"]  # it was not chosen: another protocol or ensemble has its own
        return SamplingOptions.create(self.config, **base | given)

    def sample(self, image: np.ndarray, options: SamplingOptions | None = None, **given: Any) -> np.ndarray:
        """Samples masks of one image.

        Args:
          image: uint8 [H, W], [H, W, 1] or [H, W, 3] (RGB).
          options: how to sample; None for the checkpoint's own options.
          **given: fields of `SamplingOptions` that replace those, such as `steps=4, seed=1`. Protocol, ensemble and
            threshold change nothing here.

        Returns:
          float32 [samples, h, w], estimates of x_0, about -1 outside and +1 inside, not clipped; h and w are
          `image_size`, or H and W if `size` is "native" or "tiles". Of several classes [samples, h, w, K], class k at
          k - 1. Of an image that has one value in all pixels -1 throughout: its mask is empty.

        Raises:
          InputError: the image or an option cannot be used.
          CheckpointError: the network gives values that are not finite.
        """
        options = self.options(options, **given)
        return self.fetch(self.start(self.prepare(image, options), options))

    def trajectory(
        self, image: np.ndarray, options: SamplingOptions | None = None, **given: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Follows the first sample of one image through the reverse process.

        Args:
          image: as for `sample`.
          options, **given: as for `sample`; the number of samples and `flips` change nothing here.

        Returns:
          timesteps: int32 [steps + 1], strictly decreasing from T - 1; the last, -1, stands for the clean mask.
          x_t: float32 [steps + 1, h, w], from the starting noise to the sample, in the units of the process (a mask is
            +-mask_scale there).
          x0: float32 [steps, h, w], the estimate of the mask at each of the first `steps` timesteps, about [-1, 1].
          Of several classes x_t has the channels of the mask, [.., C], and x0 the classes, [.., K].

        Raises:
          InputError, CheckpointError: as `sample`; and where the network works in one pass.
        """
        if self.one_pass:
            raise InputError(f"{self.config['model']['name']} works in one pass; there is no reverse process to follow")
        options = self.options(options, **given | {"samples": 1, "flips": False})
        if options.size == "tiles":
            raise InputError("size is 'tiles'; a reverse process is followed at the size model or native")
        x_t, x0 = self.fetch(self.start(self.prepare(image, options), options, return_trajectory=True))
        grid = timestep_grid(self._process.num_train_timesteps, options.steps)
        return np.append(grid, -1).astype(np.int32), x_t, x0

    def segment(
        self,
        images: np.ndarray | list[np.ndarray],
        options: SamplingOptions | None = None,
        *,
        batch_size: int | None = None,
        **given: Any,
    ) -> Segmentation | list[Segmentation]:
        """Segments one image, or each of a list of images of any sizes.

        Args:
          images: uint8 [H, W], [H, W, 1] or [H, W, 3] (RGB), or a list of such.
          options: how to sample and what to make of the samples; None for the checkpoint's own options. Options made by
            hand replace all of these; `segmenter.options(steps=8)` keeps the others.
          batch_size: images started together, 1 .. 4096; None for what suits network and device.
          **given: fields of `SamplingOptions` that replace those, such as `steps=4, seed=1`.

        Returns:
          A Segmentation at the image's own size; for a list, a list in the same order.

        Raises:
          InputError: an image or an option cannot be used.
          CheckpointError: the network gives values that are not finite.
        """
        options = self.options(options, **given)
        single = not isinstance(images, list | tuple)
        rgb = [as_rgb(image) for image in ([images] if single else images)]  # all are checked before any work
        calibration, _ = self.calibration(options)
        drawn = zip(rgb, self.sample_each(rgb, options, batch_size), strict=True)
        results = [self.result(samples, image, options, calibration) for image, samples in drawn]
        return results[0] if single else results

    def result(
        self,
        samples: np.ndarray,
        image: np.ndarray,
        options: SamplingOptions,
        calibration: Calibrated | None,
        hypotheses: bool = False,
    ) -> Segmentation:
        """The result of an image [H, W, 3], with its unlikeness; the other arguments are those of `fuse`."""
        found = fuse(samples, image.shape[:2], options, self.labels, calibration, hypotheses)
        return found.judged(self.unlikeness(image))

    def hypotheses(
        self, image: np.ndarray, options: SamplingOptions | None = None, **given: Any
    ) -> tuple[Hypothesis, ...]:
        """The whole masks that the samples of one image fall into, at its own size, the heaviest first.

        Arguments and errors are those of `sample`; the protocol decides the mask of a sample.
        """
        options = self.options(options, **given)
        return hypotheses_of(self.sample(image, options), as_rgb(image).shape[:2], options, self.labels)

    def calibration(self, options: SamplingOptions | None = None) -> tuple[Calibrated | None, str]:
        """Returns what `load_calibration` does for these options; the file is read once for each of the last few.

        Only the first ones are warned of: a server is asked for others all day.
        """
        options = dataclasses.replace(self.options(options), seed=0)  # which no calibration depends on
        if options not in self._calibrations:
            found = load_calibration(self, options, warn=not self._calibrations)
            if len(self._calibrations) >= _CALIBRATIONS_HELD:
                self._calibrations.pop(next(iter(self._calibrations)), None)
            self._calibrations[options] = found
            return found
        return self._calibrations[options]

    def reference(self) -> tuple[Reference | None, str]:
        """Returns what `load_reference` does; the file is read once."""
        if self._reference is None:
            self._reference = load_reference(self)
        return self._reference

    def drop_calibration(self) -> None:
        """Forgets the calibration and the reference that were read; what is used next is read again."""
        self._calibrations.clear()
        self._reference = None

    def unlikeness(self, image: np.ndarray) -> float | None:
        """The distance of an image, as for `sample`, from the images of the calibration, as `Segmentation` has it."""
        reference, _ = self.reference()
        return None if reference is None else reference.unlikeness(describe_image(image))

    def fingerprint(self) -> str:
        """Returns a SHA-256 of the weights and every part of the config that a result depends on, wherever they lie."""
        if self._weights is None:
            self._weights = weights_digest(self._params)
        return fingerprint(self.config, self._weights)
