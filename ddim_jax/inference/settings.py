"""What a result depends on besides the image and the checkpoint."""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple, Unpack

from ddim_jax.aggregation import ENSEMBLES, PROTOCOLS, ensemble_threshold
from ddim_jax.diffusion import SAMPLERS
from ddim_jax.inference.options import SIZES, Options, SampleOptions, Size, filled
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.values import is_number

_ONE_PASS = "the network works in one pass, without diffusion"


class Settings(NamedTuple):
    """Checked settings of one segmentation.

    Attributes:
      samples: noise samples per image, >= 1.
      steps: network evaluations per sample, 1 .. num_train_timesteps; 1 for a network without diffusion.
      seed: of the noise, 0 .. 2^32 - 1.
      protocol: how samples become a probability, a key of `PROTOCOLS`.
      threshold: pixels with a probability above it are foreground, in [0, 1].
      size: what the network works at: "model", the size it was trained at; "native", each picture's own.
      flips: whether the samples see the picture in turn as it is, mirrored left to right, top to bottom, and both.
      sampler: one of `SAMPLERS`; None for a network without diffusion.
      ensemble: how the samples are fused, one of `ENSEMBLES`.
      eta: of DDIM, in [0, 1]: 0 draws no noise in the steps, 1 as much as DDPM. Other samplers have none.
      clip_x0: bound on the estimate of x_0 in each step, above 0; None for no bound.
    """

    samples: int
    steps: int
    seed: int
    protocol: str
    threshold: float
    size: Size = "model"
    flips: bool = False
    sampler: str | None = "ddim"
    ensemble: str = "mean"
    eta: float = 0.0
    clip_x0: float | None = None

    @classmethod
    def create(cls, config: Mapping[str, Any], **options: Unpack[Options]) -> "Settings":
        """Fills what is None or left out from the `sample` section of a checkpoint's config; "off" is no bound on x_0.

        The threshold is that of the protocol and the ensemble if it is None, the size "model". Where nothing would come
        of another eta (with samplers other than DDIM) or another bound (without diffusion), it is refused.

        Raises:
          InputError: a value is out of range; the message names it.
          TypeError: there is no option of that name.
        """
        given, defaults = filled(Options, options), config["sample"]

        def value(name: str, otherwise: Any) -> Any:
            return otherwise if given[name] is None else given[name]

        protocol = value("protocol", defaults["protocol"])
        if protocol not in PROTOCOLS:
            raise InputError(f"protocol is {protocol!r}; expected one of {', '.join(PROTOCOLS)}")
        ensemble = value("ensemble", defaults.get("ensemble", "mean"))
        if ensemble not in ENSEMBLES:
            raise InputError(f"ensemble is {ensemble!r}; expected one of {', '.join(ENSEMBLES)}")
        threshold = value("threshold", ensemble_threshold(PROTOCOLS[protocol], ensemble))
        if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0.0 <= threshold <= 1.0:
            raise InputError(f"threshold is {threshold!r}; expected a number from 0 to 1")
        size = value("size", "model")
        if size not in SIZES:
            raise InputError(f"size is {size!r}; expected one of {', '.join(SIZES)}")
        timesteps = config["diffusion"]["num_train_timesteps"]
        samplers = (None,) if timesteps is None else SAMPLERS
        sampler = value("sampler", defaults.get("sampler", "ddim"))
        if sampler not in samplers:
            reason = "" if timesteps else f": {_ONE_PASS}"
            raise InputError(f"sampler is {sampler!r}; expected {' or '.join(map(str, samplers))}{reason}")
        return cls(
            samples=_whole("samples", value("samples", defaults["samples"]), 1, 2**16),
            steps=_whole("steps", value("steps", defaults["steps"]), 1, timesteps or 1),
            seed=_whole("seed", value("seed", 0), 0, 2**32 - 1),
            protocol=protocol,
            threshold=float(threshold),
            size=size,
            flips=bool(value("flips", defaults.get("flips", False))),
            sampler=sampler,
            ensemble=ensemble,
            eta=_eta(value("eta", defaults["eta"]), defaults["eta"], sampler),
            clip_x0=_clip(given["clip_x0"], defaults["clip_x0"], sampler),
        )

    def sampling(self) -> SampleOptions:
        """The options that draw the same samples again with the same checkpoint."""
        return {name: getattr(self, name) for name in SampleOptions.__annotations__} | {
            "clip_x0": self.clip_x0 or "off"
        }


def _eta(eta: Any, default: float, sampler: str | None) -> float:
    if not is_number(eta) or not 0.0 <= eta <= 1.0:
        raise InputError(f"eta is {eta!r}; expected a number from 0 (no noise in the steps) to 1 (as DDPM)")
    if eta != default and sampler != "ddim":
        reason = f"the sampler {sampler} has none" if sampler else _ONE_PASS
        raise InputError(f"eta is {eta!r}; expected the checkpoint's, {default}: {reason}")
    return float(eta)


def _clip(given: Any, default: float | None, sampler: str | None) -> float | None:
    clip = default if given is None else given
    clip = None if clip == "off" else clip
    if clip is not None and not (is_number(clip) and 0.0 < clip < math.inf):
        raise InputError(f"clip_x0 is {clip!r}; expected a number above 0, or off")
    if clip != default and sampler is None:
        raise InputError(f"clip_x0 is {given!r}; expected the checkpoint's, {default or 'off'}: {_ONE_PASS}")
    return None if clip is None else float(clip)


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; expected a whole number from {low} to {high}")
    return int(value)
