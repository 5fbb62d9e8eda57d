"""The options of a training step, which the step and the gradients it takes hold as one value."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ddim_jax.data import Augmentation
from ddim_jax.training.adversarial import Adversary
from ddim_jax.training.mean_teacher import MeanTeacher


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepOptions:
    """The options of `ddim_jax.training.step.make_train_step`, which says what each changes in a step.

    Attributes:
      seed: of all random numbers.
      ema_decay: the share of the average of the weights that a step keeps, after the first steps.
      augmentation: of image and mask.
      accumulate: the number of equal parts of a batch, one of which is in memory at a time.
      adversary: attacks the images; None for none.
      teacher: gives unlabelled images their masks; None where there are none.
    """

    seed: int
    ema_decay: float
    augmentation: Augmentation
    accumulate: int = 1
    adversary: Adversary | None = None
    teacher: MeanTeacher | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, teacher: MeanTeacher | None = None) -> "StepOptions":
        """The options that a resolved config has, with this teacher."""
        fields = config["train"]
        return cls(
            seed=config["seed"],
            ema_decay=fields["ema_decay"],
            augmentation=Augmentation.from_config(config["data"]),
            accumulate=fields["accumulate"],
            adversary=Adversary.from_config(fields),
            teacher=teacher,
        )
