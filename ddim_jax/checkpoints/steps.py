"""The steps of a folder of checkpoints: those that are there, complete, intact and best. Nothing is written here."""

import math
from pathlib import Path
from typing import Any

from absl import logging

from ddim_jax.checkpoints.folders import step_folders
from ddim_jax.checkpoints.items import METRIC, read_scores
from ddim_jax.checkpoints.manifest import MANIFEST, describe_damage, find_damage, fingerprint, is_complete
from ddim_jax.runtime.errors import CheckpointError


class Steps:
    """The step folders in a folder, with a memory of those that were written or found intact.

    Args:
      directory: where they lie; it need not be there.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self._intact: dict[int, Any] = {}  # the fingerprint of each step, None where it was found damaged

    def folder(self, step: int) -> Path:
        """The folder of a step."""
        return self.directory / str(step)

    def folders(self) -> list[int]:
        """The steps that have a folder, complete or not, in increasing order; errors as `step_folders`."""
        return step_folders(self.directory)

    def complete(self) -> list[int]:
        """Complete steps, those whose manifest is there, in increasing order."""
        return [step for step in self.folders() if is_complete(self.folder(step))]

    def existing(self, step: int) -> int:
        """The step, if it is complete.

        Raises:
          CheckpointError: it is not; those that are there are named.
        """
        if step not in self.complete():
            there = ", ".join(map(str, self.complete())) or "none"
            raise CheckpointError(f"{self.folder(step)}: no complete checkpoint of step {step}; there are: {there}")
        return step

    def none_complete(self) -> str:
        """Says that no step is complete, and which were interrupted."""
        partial = ", ".join(str(self.folder(step)) for step in self.folders())
        return f"{self.directory}: no complete checkpoint" + (
            f"; without {MANIFEST}, so interrupted while saving: {partial}" if partial else ""
        )

    def ranking(self) -> list[int]:
        """Complete steps from worst to best; one whose score cannot be trusted stands last, so that it is looked at."""

        def rank(step: int) -> tuple[float, int]:
            metrics, problem = read_scores(self.folder(step))
            return math.inf if problem else metrics.get(METRIC, -math.inf), step

        return sorted(self.complete(), key=rank)

    def scored(self) -> list[int]:
        """Complete steps that have a score, in the order of `ranking`."""
        return [step for step in self.ranking() if read_scores(self.folder(step))[0]]

    def surplus(self, keep_latest: int) -> list[int]:
        """The complete steps that are neither among so many of the latest nor the best."""
        steps = self.complete()
        return sorted(set(steps) - set(steps[-keep_latest:]) - set(self.scored()[-1:]))

    def damage(self, step: int, leave_out: str | None = None) -> list[str]:
        """The faults of the files of a step outside its folder `leave_out`, a line each.

        A step that was found intact, all of it, is hashed again only if a file was touched since.
        """
        now = fingerprint(self.folder(step))  # before it is hashed, so that what is written meanwhile shows later
        if now is not None and now == self._intact.get(step):
            return []
        damage = find_damage(self.folder(step), leave_out)
        if not damage and (problem := read_scores(self.folder(step))[1]):
            damage = [problem]
        if leave_out is None:
            self._intact[step] = now if not damage else None
        return damage

    def first_intact(self, candidates: list[int], *, fall_back: bool = True, leave_out: str | None = None) -> int:
        """The first candidate without damage (outside its folder `leave_out`); that of those before it is logged.

        Raises:
          CheckpointError: there is none; every damaged file is named.
        """
        reports = []
        for step in candidates:
            if not (damage := self.damage(step, leave_out)):
                if reports:
                    logging.warning("using the checkpoint of step %d instead", step)
                return step
            if not is_complete(self.folder(step)):  # removed since it was listed: no damage
                continue
            reports.append(describe_damage(self.folder(step), damage))
            if fall_back:
                logging.warning("%s", reports[-1])
        if not reports:
            gone = ", ".join(map(str, candidates))
            raise CheckpointError(f"{self.directory}: step {gone} was removed while it was to be read")
        raise CheckpointError(
            "; ".join(reports) + ". No intact checkpoint is left: restore these files from a copy or train again."
            if fall_back
            else f"{reports[0]}. Choose another step or restore these files from a copy."
        )

    def remember(self, step: int) -> None:
        """Takes a step that was just written for intact."""
        self._intact[step] = fingerprint(self.folder(step))

    def forget(self, step: int) -> None:
        """Drops what is known of a step, which is to be removed."""
        self._intact.pop(step, None)
