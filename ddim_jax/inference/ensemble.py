"""Several checkpoints as one: the samples of all are fused together, as of the networks of a cross-validation."""

import contextlib
import dataclasses
import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from absl import logging

from ddim_jax.inference.loading import LoadedNetwork, load_network, weights_digest
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.registry import SAMPLERS
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.pinned import pinned
from ddim_jax.sampling_options import SamplingOptions

_NOT_SHARED = ("steps", "sampler", "eta", "clip_x0")
"""Fields of `SamplingOptions` that a network in one pass and a denoiser cannot share."""


class Ensemble(Segmenter):
    """A `Segmenter` of two or more checkpoints: each draws its samples, and the masks are made of all of them.

    The config, the step and the defaults of the options are those of the first. The others take its options, but for
    those that the sampler does not use, and for steps and sampler where some work in one pass and some do not: there
    they have their own. With a network in one pass first, steps and sampler of a denoiser cannot be chosen. All start
    from the same noise. A reverse process that is followed is that of the first. There is no calibration: one that was
    made for a checkpoint does not hold for the ensemble.
    """

    @pinned()
    def __init__(self, networks: Sequence[LoadedNetwork]):
        """Joins loaded checkpoints, two or more.

        Raises:
          InputError: there is none; or two have the same averaged weights; or they differ in their classes, or in how
            images are read and resized.
        """
        if not networks:
            raise InputError("no checkpoint is given; expected several")
        first, *rest = networks
        super().__init__(**first._asdict())
        self.others = tuple(Segmenter(**network._asdict()) for network in rest)
        for other in self.others:
            differences = [
                f"{name} is {value!r} in {self.checkpoint} and {another!r} in {other.checkpoint}"
                for (name, value), another in zip(_shared(self).items(), _shared(other).values(), strict=True)
                if value != another
            ]
            if differences:
                raise InputError(f"these checkpoints cannot be fused: {'; '.join(differences)}")
        digests = [weights_digest(network.params) for network in networks]  # a run and its pack have other files
        times = Counter(digests)
        if same := [one.checkpoint for one, digest in zip(networks, digests, strict=True) if times[digest] > 1]:
            raise InputError(f"{', '.join(same)} have the same weights; expected each checkpoint once")
        for other in self.others:
            if not _trained_alike(self, other):
                logging.warning(
                    "%s and %s were trained on different images (%s, %s), and not as folds of one cross-validation: "
                    "fuse only networks for images of one kind",
                    self.checkpoint,
                    other.checkpoint,
                    _trained_on(self),
                    _trained_on(other),
                )
        self._size_multiple = math.lcm(self._size_multiple, *(other._size_multiple for other in self.others))

    @classmethod
    @pinned()
    def load(
        cls,
        paths: Sequence[str | os.PathLike],
        step: Literal["best", "latest"] | int = "best",
        programs: str | os.PathLike | None = None,
    ) -> "Ensemble":
        """Loads several checkpoints, each as `Segmenter.load` does; so does `from_pretrained`.

        Raises:
          CheckpointError: as `Segmenter.load`.
          InputError: `paths` is a single one, or the checkpoints differ as for `Ensemble`.
        """
        if isinstance(paths, str | os.PathLike):
            raise InputError(f"paths is {os.fspath(paths)!r}; expected several checkpoints, Segmenter.load takes one")
        return cls([load_network(path, step, programs) for path in paths])

    def options(self, options: SamplingOptions | None = None, **given: Any) -> SamplingOptions:
        """Returns what `Segmenter.options` does, checked against every checkpoint; `samples` are those of each."""
        with _naming(self):
            options = super().options(options, **given)
        for other in self.others:
            with _naming(other):
                self._options_of(other, options)
        return options

    def _options_of(self, other: Segmenter, options: SamplingOptions) -> SamplingOptions:
        of_sampler = (field.name for field in dataclasses.fields(options) if field.metadata["of_sampler"])
        used = getattr(SAMPLERS.get(options.sampler), "uses", ()) if options.sampler else ()
        own = {name for name in of_sampler if name not in used}
        if self.one_pass or other.one_pass:
            own.update(_NOT_SHARED)
        return other.options(**{name: value for name, value in options.as_given().items() if name not in own})

    def _program(self, pixels: np.ndarray, identities: np.ndarray, options: SamplingOptions, **how: bool) -> Any:
        own = super()._program(pixels, identities, options, **how)
        if how.get("return_trajectory"):
            return own
        rest = [other._program(pixels, identities, self._options_of(other, options), **how) for other in self.others]
        return jnp.concatenate([own, *rest], axis=1)

    def _sample_bytes(self) -> int:
        return max(super()._sample_bytes(), *(other._sample_bytes() for other in self.others))

    def evaluations(self, options: SamplingOptions) -> int:
        """Counts what `Segmenter.evaluations` does, of all checkpoints."""
        others = (other.evaluations(self._options_of(other, options)) for other in self.others)
        return super().evaluations(options) + sum(others)

    def calibration(self, options: SamplingOptions | None = None) -> tuple[None, str]:
        """Returns None, and why."""
        return None, _NOT_CALIBRATED

    def reference(self) -> tuple[None, str]:
        """Returns None, and why."""
        return None, _NOT_CALIBRATED

    def drop_programs(self) -> None:
        """Frees the compiled programs of all checkpoints."""
        super().drop_programs()
        for other in self.others:
            other.drop_programs()

    def fingerprint(self) -> str:
        """Returns a SHA-256 of the fingerprints of all checkpoints, in their order."""
        digests = [super().fingerprint(), *(other.fingerprint() for other in self.others)]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()


@contextlib.contextmanager
def _naming(segmenter: Segmenter) -> Iterator[None]:
    """Names the checkpoint that refuses an option."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{segmenter.checkpoint}: {error.args[0]}", *error.args[1:]) from error


_NOT_CALIBRATED = "several checkpoints have no calibration together"


def load_checkpoints(
    paths: Sequence[str | os.PathLike],
    step: Literal["best", "latest"] | int = "best",
    programs: str | os.PathLike | None = None,
    require_sha256: str | None = None,
) -> Segmenter:
    """Loads one checkpoint, or several as an `Ensemble`; the other arguments and the errors are `Segmenter.load`'s.

    Raises:
      InputError: as `Segmenter.load` and `Ensemble`; or there is none, or a SHA-256 is required of several.
    """
    if not paths:
        raise InputError("no checkpoint is given; expected one or several")
    if len(paths) == 1:
        return Segmenter.load(paths[0], step, programs, require_sha256)
    if require_sha256 is not None:
        raise InputError(f"a SHA-256 is required of one checkpoint; {len(paths)} are given")
    return Ensemble.load(paths, step, programs)


def _trained_alike(one: Segmenter, other: Segmenter) -> bool:
    """True for the same training images, as far as the checkpoints say them, and for folds of a cross-validation."""
    digests = [member.training_data.get("train_ids_sha256") for member in (one, other)]
    divisions = [[m.config["data"].get(name) for name in ("name", "folds", "split_seed")] for m in (one, other)]
    folds = bool(one.config["data"].get("folds")) and divisions[0] == divisions[1]
    names = {os.path.basename(os.path.normpath(root)) for m in (one, other) if (root := m.config["data"].get("root"))}
    return None in digests or digests[0] == digests[1] or (folds and len(names) < 2)


def _trained_on(segmenter: Segmenter) -> str:
    data = segmenter.config["data"]
    return f"{segmenter.training_data.get('train_examples')} of {data.get('root') or data['name']}"


def _shared(segmenter: Segmenter) -> dict[str, Any]:
    """Returns all that the checkpoints of an ensemble have to have in common, by the name that a user knows."""
    data, labels = segmenter.config["data"], segmenter.labels
    read = {f"data.{name}": data.get(name) for name in ("image_size", "crop", "window", "invert")}
    return {"classes": labels.class_names, "data.multilabel": labels.multilabel} | read
