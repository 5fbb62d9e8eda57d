"""The options of an evaluation: one value, passed whole from `evaluate` to what samples, scores and writes."""

import dataclasses

from ddim_jax.runtime.errors import InputError
from ddim_jax.sampling_options import SamplingOptions

RESOLUTIONS = ("model", "native")


@dataclasses.dataclass(frozen=True)
class EvaluationOptions:
    """The images that an evaluation scores, and what it makes of them besides the numbers.

    Attributes:
      split: the name of the split, for the result files.
      resolution: "model": the truth is resized (nearest) to the working size; "native": the probability is resized
        (bilinear) to the image's own size. With `size` "native" or "tiles" the two are one, and nothing is resized.
      figures: draw them or not.
      limit: at most that many images, spread evenly over the data set; None for all.
      calibrate: the share of images, above 0 and below 1, that the bounds of areas and of Dice are made for, from
        these images on; they must not be those of the training. None to use the calibration that there is.
      batch_size: images started together, as for `Segmenter.segment`.
    """

    split: str
    resolution: str = "native"
    figures: bool = True
    limit: int | None = None
    calibrate: float | None = None
    batch_size: int | None = None

    def check(self, options: SamplingOptions) -> None:
        """Checks the limit and the resolution, which have to go with the options of sampling.

        Raises:
          InputError: one of them is out of range, or the two do not go together.
        """
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit is {self.limit}; expected 1 or more")
        if self.resolution not in RESOLUTIONS:
            raise InputError(f"resolution is {self.resolution!r}; expected one of {', '.join(RESOLUTIONS)}")
        if options.size != "model" and self.resolution != "native":
            raise InputError(f"resolution is 'model' and size {options.size!r}, at which there is native alone")
