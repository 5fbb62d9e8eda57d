"""How a picture is segmented with a trained network: one value, passed whole from the commands down to the sampler."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

Size = Literal["model", "native"]


@dataclasses.dataclass(frozen=True)
class SamplingOptions:
    """What a result depends on besides the picture and the checkpoint.

    Attributes:
      steps: network evaluations per sample, 1 .. num_train_timesteps; 1 for a network without diffusion.
      samples: noise samples per picture, >= 1.
      sampler: a name in `ddim_jax.registry.SAMPLERS`; None for a network without diffusion.
      eta: of DDIM, in [0, 1]: 0 draws no noise in the steps, 1 as much as DDPM. Other samplers have none.
      clip_x0: bound on the estimate of x_0 in each step, above 0; None for no bound.
      flips: whether the samples see the picture in turn as it is, mirrored left to right, top to bottom, and both.
      size: what the network works at: "model", the size it was trained at; "native", each picture's own.
      seed: of the noise, 0 .. 2^32 - 1.
      protocol: how samples become a probability, "mean" or "paper".
      ensemble: how the samples are fused, a name in `ddim_jax.registry.ENSEMBLES`.
      threshold: pixels with a probability above it are foreground, in [0, 1]; None for that of protocol and ensemble.
    """

    steps: int = 50
    samples: int = 5
    sampler: str | None = "ddim"
    eta: float = 0.0
    clip_x0: float | None = None
    flips: bool = False
    size: Size = "model"
    seed: int = 0
    protocol: str = "mean"
    ensemble: str = "mean"
    threshold: float | None = None

    @classmethod
    def create(cls, config: Mapping[str, Any], **given: Any) -> "SamplingOptions":
        """Options checked against a checkpoint's config, whose section `sample` fills what is None or left out.

        Raises:
          InputError: a value is out of range; the message names it.
          TypeError: there is no option of that name.
        """
        raise NotImplementedError
