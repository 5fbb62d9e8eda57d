"""A folder of checkpoints that is never trusted without checking it.

Layout: `DIRECTORY/<step>/{state,ema_params,metadata,metrics}/...` as written by Orbax, and beside them `manifest.json`,
which is written last: a step without it was interrupted and does not count.
"""

import contextlib
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
from absl import logging

from ddim_jax.checkpoints.folders import check_path, check_sha256, may_stay, remove, take_away, which_step
from ddim_jax.checkpoints.full_disk import check_room, disk_errors
from ddim_jax.checkpoints.items import (
    METRIC,
    check_written,
    read_metadata,
    read_params,
    read_scores,
    read_state,
    small_by_one,
)
from ddim_jax.checkpoints.manifest import MANIFEST, manifest_digest, recorded_digest, write_manifest
from ddim_jax.checkpoints.steps import Steps
from ddim_jax.runtime.errors import CheckpointError
from ddim_jax.runtime.processes import broadcast_from_first, wait_for_all


class Restored(NamedTuple):
    """The result of `CheckpointStore.restore`: the step, the training state, NumPy EMA weights, the metadata."""

    step: int
    state: Any
    ema_params: Any
    metadata: dict


class Weights(NamedTuple):
    """The result of `CheckpointStore.restore_params`: the step, NumPy EMA weights, the metadata, the weights' digest.

    The digest is SHA-256 over what the manifest records of the files of the weights.
    """

    step: int
    params: Any
    metadata: dict
    digest: str


class CheckpointStore:
    """Saves, verifies and restores the checkpoints of one run.

    Args:
      directory: where the step folders lie; made on the first save.
      keep_latest: how many of the newest steps stay, beside the one with the highest "dice".

    Saving is synchronous. An old step is removed only after the new one is complete, so a process killed at any moment
    leaves at least one complete checkpoint once one was written. With several processes every process calls `save`.
    """

    def __init__(self, directory: str | os.PathLike, *, keep_latest: int = 2):
        if keep_latest < 1:
            raise ValueError(f"keep_latest must be >= 1, not {keep_latest}")
        self.directory = Path(directory).absolute()  # Orbax refuses relative paths
        self._keep_latest = keep_latest
        self._steps = Steps(self.directory)

    def steps(self) -> list[int]:
        """Every complete step in increasing order; whether its files are still as written is checked on restoring."""
        return self._steps.complete()

    def check_room(self, state: Any, ema_params: Any) -> None:
        """Refuses a checkpoint of arrays like these that will not fit.

        Raises:
          OSError: the disk is full; it says how many bytes are needed and free.
        """
        check_room(self.directory, sum(getattr(leaf, "nbytes", 0) for leaf in jax.tree.leaves((state, ema_params))))

    def save(
        self,
        step: int,
        *,
        state: Any,
        ema_params: Any,
        metadata: Mapping[str, Any],
        metrics: Mapping[str, float] | None = None,
        check_place: Callable[[], None] = lambda: None,
    ) -> bool:
        """Writes one checkpoint and then removes the steps that are neither among the latest nor among the best.

        Damaged steps are renamed to `<step>.damaged`, never deleted; what an interrupted save or removal left is
        removed where an intact step is there. What cannot be taken away is named in a warning, and the next save tries
        again. Process 0 decides and does all this, and the others wait. What was written is opened again, and its
        arrays compared by name, shape and dtype, before the manifest vouches for it.

        Args:
          step: training steps taken so far, >= 0.
          state: any pytree of arrays and numbers.
          ema_params: nested dict of arrays, the weights used for sampling.
          metadata: JSON-serialisable: config, package version and so on.
          metrics: finite numbers of this step; "dice" decides what is best. A step without it is never the best.
          check_place: raises where the folder is no longer the one that was begun in; called by process 0 before
            anything is written, and before the manifest.

        Returns:
          True if written, False if an intact checkpoint of this step is already there: that one is kept.

        Raises:
          ValueError: the step is negative or a metric is not finite.
          InputError: the path has characters that Orbax takes for a pattern.
          CheckpointError: an intact checkpoint of a later step is there; the folder is a link to a disk that is away;
            or what was written cannot be opened.
          OSError: the disk is full or not writable.
          Exception: what `check_place` raises.
        """
        import orbax.checkpoint as ocp  # not at the head: packed weights do not need it, and it takes long to import

        check_path(self.directory)
        if step < 0:
            raise ValueError(f"step must be >= 0, not {step}")
        for name, value in (metrics or {}).items():
            if not math.isfinite(value):
                raise ValueError(f"metric {name!r} of step {step} is {value}, not a finite number")
        if jax.process_index() == 0:
            check_place()
        # A folder on a network does not look the same to all hosts at the same moment, and they have to do the same.
        intact = self._clear_the_way(step) if jax.process_index() == 0 else []
        if broadcast_from_first(int(step in intact)):
            return False
        newest = broadcast_from_first(max(intact, default=-1))
        if newest > step:
            raise CheckpointError(
                f"{self.directory}: cannot save step {step}, the later step {newest} is already there. "
                "Continue from that one, or use another directory."
            )
        # No preservation policy: Orbax would remove old steps before the new one has its manifest. That is done below.
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False,
            cleanup_tmp_directories=True,
            best_fn=(lambda values: values[METRIC]) if metrics else None,  # without it Orbax drops the metrics
        )
        self.check_room(state, ema_params)
        with disk_errors(self.directory):
            try:
                with ocp.CheckpointManager(self.directory, options=options) as manager:
                    manager.save(
                        step,
                        args=ocp.args.Composite(
                            state=ocp.args.StandardSave(small_by_one(state)),
                            ema_params=ocp.args.StandardSave(small_by_one(ema_params)),
                            metadata=ocp.args.JsonSave(dict(metadata)),
                        ),
                        metrics={name: float(value) for name, value in metrics.items()} if metrics else None,
                        force=True,
                    )
            finally:
                if jax.process_index() == 0:  # says why, where Orbax failed for that
                    check_place()
            if jax.process_index() == 0:
                try:
                    check_written(self._steps.folder(step), state=state, ema_params=ema_params)
                    write_manifest(self._steps.folder(step))
                except Exception:
                    check_place()  # as above
                    raise
                self._steps.remember(step)
                for old in self._steps.surplus(self._keep_latest):
                    self._steps.forget(old)
                    with may_stay(self._steps.folder(old)):  # the new step is complete, whatever becomes of the old one
                        remove(self._steps.folder(old))
            wait_for_all(f"step {step} is complete")
        return True

    def best(self) -> tuple[int, float] | None:
        """The complete step with the highest "dice", and that; None where none was scored."""
        scored = self._steps.scored()
        dice = read_scores(self._steps.folder(scored[-1]))[0].get(METRIC) if scored else None
        return None if dice is None else (scored[-1], dice)

    def newest_intact(self) -> int | None:
        """The newest step whose every file is as written, or None if the directory holds no complete checkpoint.

        Raises:
          CheckpointError: none is intact; every damaged file is named.
        """
        steps = self.steps()
        for partial in sorted(set(self._steps.folders()) - set(steps)):
            logging.warning(
                "%s: ignored, %s is missing: saving it was interrupted", self._steps.folder(partial), MANIFEST
            )
        return self._steps.first_intact(steps[::-1]) if steps else None

    def metadata(self, step: int) -> dict:
        """The metadata of a step that `newest_intact` found.

        Raises:
          CheckpointError: there is no such step, or it cannot be read.
        """
        return read_metadata(self._steps.folder(self._steps.existing(step)))

    def restore(self, template_state: Any, step: int | None = None) -> Restored | None:
        """Reads the newest intact checkpoint, or exactly the given step.

        Every file is verified before anything is read, unless this object has found the step intact and no file of it
        was touched since. A damaged step is named file by file in a warning and the next newest is used; a step that is
        asked for by number is that step or an error.

        Args:
          template_state: a pytree like the saved state, of arrays or `jax.ShapeDtypeStruct`s. Leaves come back with the
            template's shardings (on the default device where it has none), NumPy leaves as NumPy arrays.
          step: None for the newest.

        Returns:
          Restored, exact to the bit, or None if the directory holds no complete checkpoint at all.

        Raises:
          CheckpointError: none is intact (every damaged file is named), the step asked for is missing, or the template
            belongs to another model (the leaves that differ are named).
        """
        if step is None:
            found = self.newest_intact()
            if found is None:
                return None
        else:
            found = self._steps.first_intact([self._steps.existing(step)], fall_back=False)
        folder = self._steps.folder(found)
        return Restored(found, read_state(folder, template_state), read_params(folder), read_metadata(folder))

    def restore_params(
        self, which: Literal["best", "latest"] | int = "best", require_sha256: str | None = None
    ) -> Weights:
        """Reads the EMA weights without a template, on any number of devices.

        The training state, most of a step's bytes, is neither read nor verified; every other file is. A step that a
        training removes while it is read is no damage: the choice is made again among those that are there then.

        Args:
          which: "best" (highest "dice", the newest among equals; the latest if none was scored), "latest", or a step.
            For the first two a damaged step is named in a warning and the next best or next newest is used.
          require_sha256: the SHA-256 of the manifest that the step has to have, in hexadecimal digits; None for any.

        Raises:
          CheckpointError: as for `restore`, and if the directory holds no complete checkpoint, or the step has another
            manifest than `require_sha256`.
          InputError: `which` is none of these, or `require_sha256` no SHA-256.
        """
        which = which_step(which)
        check_sha256(require_sha256)
        while True:
            before = self.steps()
            try:
                return self._read_params(which, require_sha256)
            except (CheckpointError, FileNotFoundError):
                # Another process saves and removes meanwhile. Each turn takes it at least one more save.
                if which not in ("best", "latest") or set(before) <= set(self.steps()):
                    raise
                logging.info("%s: steps were removed while they were read; choosing again", self.directory)

    def _read_params(self, which: Literal["best", "latest"] | int, require_sha256: str | None) -> Weights:
        if which in ("best", "latest"):
            candidates = self._steps.ranking() if which == "best" else self.steps()
            if not candidates:
                raise CheckpointError(self._steps.none_complete())
            found = self._steps.first_intact(candidates[::-1], leave_out="state")
        else:
            found = self._steps.first_intact([self._steps.existing(which)], fall_back=False, leave_out="state")
        folder = self._steps.folder(found)
        if require_sha256 is not None and (digest := manifest_digest(folder)) != require_sha256.lower():
            raise CheckpointError(
                f"{folder}: the SHA-256 of its manifest is {digest}, not {require_sha256.lower()} as required. "
                "If another step of the run has that one, give --checkpoint-step"
            )
        return Weights(found, read_params(folder), read_metadata(folder), recorded_digest(folder, "ema_params"))

    def damage(self, step: int) -> list[str]:
        """The faults of the files of a step, a line each; an empty list if all is as written."""
        return self._steps.damage(step)

    def _clear_the_way(self, new: int) -> list[int]:
        """Takes away what is damaged or incomplete and returns the intact steps in increasing order; for process 0.

        A broken step would otherwise hold the place of the best or the latest for ever. One that cannot be taken away
        is an error only in the place of step `new`.
        """
        damage = {step: self._steps.damage(step) for step in self._steps.folders()}
        intact = [step for step in damage if not damage[step]]
        for step in (step for step in damage if damage[step]):
            with may_stay(self._steps.folder(step)) if step != new else contextlib.nullcontext():
                take_away(self._steps.folder(step), damage[step], only_remains=not intact)
        return intact
