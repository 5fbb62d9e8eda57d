"""The options of segmenting files: one value, passed whole from `segment_files` to what reads and writes them."""

import dataclasses
from collections.abc import Sequence

from ddim_jax.inference.flagging import check_share
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import InputError


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """The results to write of image files, and the way they are read and batched.

    They are checked when they are used, since the config of a checkpoint may name modules that register writers.

    Attributes:
      save: kinds of results to write, names in `ddim_jax.registry.WRITERS`, such as mask, probability and overlay.
      segments: what the classes are, for DICOM-SEG, as in `data.segments` of the config, which they come before.
      flag_uncertain: the share of the images to name in `flagged.csv`, above 0 and below 1; None for no such file.
      prefetch: images started on the device before the first result is fetched, >= 1.
      batch_size: images started together, 1 .. 4096; None for what suits network and device
        (`ddim_jax.inference.batches.choose_batch_size`).
    """

    save: Sequence[str] = ("mask",)
    segments: Sequence[str] = ()
    flag_uncertain: float | None = None
    prefetch: int = 4
    batch_size: int | None = None

    def checked(self) -> "FileOptions":
        """These options, each kind of `save` once and in the order of the registry.

        The batch size is checked with the device, and `segments` with the classes.

        Raises:
          InputError: a value is out of range, or a kind of results is unknown.
        """
        if isinstance(self.save, str):
            raise InputError(f"save is {self.save!r}; expected a sequence of names, such as ({self.save!r},)")
        unknown = [kind for kind in self.save if kind not in WRITERS]
        if unknown or not self.save:
            found = ", ".join(map(repr, unknown)) or "empty"
            raise InputError(f"save is {found}; expected some of {', '.join(WRITERS)}")
        if self.flag_uncertain is not None:
            check_share(self.flag_uncertain)
        if self.prefetch < 1:
            raise InputError(f"prefetch is {self.prefetch}; expected at least 1")
        return dataclasses.replace(self, save=tuple(kind for kind in WRITERS if kind in self.save))
