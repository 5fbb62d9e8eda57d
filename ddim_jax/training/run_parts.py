"""The parts of a run: its data, what it is made of before they are opened, and the whole."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
from jax.sharding import Mesh

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.data import Source, Unlabelled, ids_digest
from ddim_jax.diffusion import DiffusionProcess, DirectProcess
from ddim_jax.labels import Labels
from ddim_jax.training.optimiser import Optimiser


class RunData(NamedTuple):
    """The data of a run, opened.

    Attributes:
      train, validation: the splits of the data set, whose pixels are not yet read.
      unlabelled: the images without masks beside them; None for none.
    """

    train: Source
    validation: Source
    unlabelled: Unlabelled | None

    def identity(self) -> dict[str, Any]:
        """Says which examples these are; in the metadata of each checkpoint, to be compared when the run goes on."""
        return {
            "train_ids_sha256": ids_digest(self.train),
            "train_examples": len(self.train),
            "val_ids_sha256": ids_digest(self.validation),
            "unlabelled_ids_sha256": None if self.unlabelled is None else ids_digest(self.unlabelled),
        }

    def ids(self) -> dict[str, Sequence[str]]:
        """The names of the images of "train" and "val"."""
        return {"train": self.train.ids, "val": self.validation.ids}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunParts:
    """The parts of a run that are there before its data are opened and its checkpoint is looked for.

    Attributes:
      workdir: its folder.
      labels, model, process, mesh: what the config names.
      store: the checkpoints in the folder.
      steps_there: those that it held when it was looked into.
    """

    workdir: Path
    labels: Labels
    model: nn.Module
    process: DiffusionProcess | DirectProcess
    mesh: Mesh
    store: CheckpointStore
    steps_there: list[int]

    def is_unchanged(self) -> bool:
        """True if no other training has saved a checkpoint in the folder meanwhile."""
        return self.store.steps() == self.steps_there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(RunParts):
    """A run whose images are not yet read.

    Attributes:
      config: resolved; of a run that goes on as it was begun.
      data, optimiser: what the config names.
      steps: of the whole run.
      start_step: the steps that are made; 0 for a new run.
      parameters: the number of weights.
      initial: from where the first weights are, in words; None where they are drawn or restored.
      saved: the metadata of the checkpoint that it goes on from; {} for a new run.
    """

    config: Mapping[str, Any]
    data: RunData
    optimiser: Optimiser
    steps: int
    start_step: int
    parameters: int
    initial: str | None
    saved: Mapping[str, Any]
