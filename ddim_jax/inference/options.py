"""The options of a segmentation by name, as every function that samples takes them; `Settings.create` checks them."""

from collections.abc import Mapping
from typing import Any, Literal, TypedDict, get_args

Size = Literal["model", "native"]
SIZES: tuple[str, ...] = get_args(Size)
Clip = float | Literal["off"]


class ProcessOptions(TypedDict, total=False):
    """Of the reverse process of one sample.

    Attributes:
      steps: network evaluations per sample, 1 .. num_train_timesteps; None or left out: the checkpoint's default.
      seed: of the noise, 0 .. 2^32 - 1; None or left out: 0.
      size: what the network works at, "model" or "native" (see `Segmenter`); None or left out: "model".
      sampler: "ddim", "ddpm" or "dpm++"; None or left out: the checkpoint's default.
      eta: of DDIM, in [0, 1], the noise it draws in its steps; None or left out: the checkpoint's default.
      clip_x0: bound on the estimates of x_0, above 0, or "off"; None or left out: the checkpoint's default.
    """

    steps: int | None
    seed: int | None
    size: Size | None
    sampler: str | None
    eta: float | None
    clip_x0: Clip | None


class SampleOptions(ProcessOptions, total=False):
    """Of the samples of one image.

    Attributes:
      samples: noise samples per image, >= 1; None or left out: the checkpoint's default.
      flips: whether the samples see the picture mirrored in turn; None or left out: the checkpoint's default.
    """

    samples: int | None
    flips: bool | None


class Options(SampleOptions, total=False):
    """Of a segmentation: how samples are drawn, and what is made of them.

    Attributes:
      protocol: "paper" or "mean" (`ddim_jax.metrics.PROTOCOLS`); None or left out: the checkpoint's default.
      threshold: of the probability, in [0, 1]; None or left out: the protocol's own, 0.5 with majority and STAPLE.
      ensemble: "mean", "majority" or "staple" (`ddim_jax.metrics.ensemble_probability`); None or left out: the
        checkpoint's default.
    """

    protocol: str | None
    threshold: float | None
    ensemble: str | None


def filled(kind: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` and, for every other name of `kind`, None.

    Args:
      kind: one of the classes above, or one made of them.

    Raises:
      TypeError: a name that `kind` does not have.
    """
    names = kind.__annotations__
    unknown = [name for name in options if name not in names]
    if unknown:
        raise TypeError(f"unexpected option {unknown[0]!r}; expected some of {', '.join(names)}")
    return {name: options.get(name) for name in names}
