"""What a result depends on besides the image and the checkpoint."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, get_args

from ddim_jax.io.errors import InputError
from ddim_jax.metrics import PROTOCOLS

Size = Literal["model", "native"]
SIZES: tuple[str, ...] = get_args(Size)


class Settings(NamedTuple):
    """Checked settings of one segmentation.

    Attributes:
      samples: noise samples per image, >= 1.
      steps: network evaluations per sample, 1 .. num_train_timesteps.
      seed: of the noise, 0 .. 2^32 - 1.
      protocol: how samples become a probability, a key of `PROTOCOLS`.
      threshold: pixels with a probability above it are foreground, in [0, 1].
      size: what the network works at: "model", the size it was trained at; "native", each picture's own.
      flips: whether the samples see the picture in turn as it is, mirrored left to right, top to bottom, and both.
    """

    samples: int
    steps: int
    seed: int
    protocol: str
    threshold: float
    size: Size = "model"
    flips: bool = False

    @classmethod
    def create(
        cls,
        config: Mapping[str, Any],
        *,
        samples: int | None = None,
        steps: int | None = None,
        seed: int = 0,
        protocol: str | None = None,
        threshold: float | None = None,
        size: Size | None = None,
        flips: bool | None = None,
    ) -> "Settings":
        """Fills what is None from the `sample` section of a checkpoint's config; the threshold from the protocol.

        The size is "model" if it is None.

        Raises:
          InputError: a value is out of range; the message names it.
        """
        defaults = config["sample"]
        protocol = defaults["protocol"] if protocol is None else protocol
        if protocol not in PROTOCOLS:
            raise InputError(f"protocol is {protocol!r}; expected one of {', '.join(PROTOCOLS)}")
        threshold = PROTOCOLS[protocol].threshold if threshold is None else threshold
        if isinstance(threshold, bool) or not isinstance(threshold, Real) or not 0.0 <= threshold <= 1.0:
            raise InputError(f"threshold is {threshold!r}; expected a number from 0 to 1")
        size = "model" if size is None else size
        if size not in SIZES:
            raise InputError(f"size is {size!r}; expected one of {', '.join(SIZES)}")
        return cls(
            samples=_whole("samples", defaults["samples"] if samples is None else samples, 1, 2**16),
            steps=_whole(
                "steps", defaults["steps"] if steps is None else steps, 1, config["diffusion"]["num_train_timesteps"]
            ),
            seed=_whole("seed", seed, 0, 2**32 - 1),
            protocol=protocol,
            threshold=float(threshold),
            size=size,
            flips=bool(defaults.get("flips", False) if flips is None else flips),
        )


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; expected a whole number from {low} to {high}")
    return int(value)
