"""A checkpoint that a server segments with."""

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

from ddim_jax.imageio.class_colours import class_colour
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.inference.writing import writing_context
from ddim_jax.sampling_options import SamplingOptions


@dataclasses.dataclass(frozen=True)
class ServedNetwork:
    """A checkpoint that a server segments with.

    Attributes:
      name: what the user calls it, without the folders it lies in.
      segmenter: of the checkpoint.
      options: of the server.
      segments: coded concepts of classes for DICOM-SEG, beside those of the checkpoint.
    """

    name: str
    segmenter: Segmenter
    options: SamplingOptions
    segments: tuple[str, ...] = ()
    _held: set[Any] = dataclasses.field(default_factory=set, compare=False)

    @classmethod
    def create(
        cls, name: str, segmenter: Segmenter, segments: Sequence[str] = (), options: SamplingOptions | None = None
    ) -> "ServedNetwork":
        """Errors as `SamplingOptions.create` and `writing_context`."""
        options = options or segmenter.options()
        writing_context(segmenter, options, segments)  # what is wrong is told at the start
        return cls(name, segmenter, options, tuple(segments))

    def hold(self, program: Hashable, most: int) -> None:
        """Counts a compiled program that is about to be used; if there are `most` others, it drops these first."""
        if program not in self._held and len(self._held) >= most:
            self.segmenter.drop_programs()
            self._held.clear()
        self._held.add(program)

    def about(self) -> dict[str, Any]:
        """The checkpoint as JSON has it."""
        data, names = self.segmenter.training_data, self.segmenter.labels.class_names
        return {
            "name": self.name,
            "step": self.segmenter.step,
            "sha256": self.segmenter.fingerprint(),
            "classes": [{"name": name, "colour": class_colour(number)} for number, name in enumerate(names, start=1)],
            "exclusive": self.segmenter.labels.several and not self.segmenter.labels.multilabel,
            "options": self.options.as_dict(),
            "note": str(data.get("note") or ""),
            "terms": str(data.get("terms") or ""),
        }
