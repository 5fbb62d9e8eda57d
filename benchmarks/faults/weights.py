"""What a checkpoint holds, and whether two of them hold the same."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.models import create_model
from ddim_jax.training.optimiser import create_optimiser
from ddim_jax.training.state import create_state


def checkpoints(run: Path) -> Path:
    """Where the checkpoints of a run lie."""
    return run / "checkpoints"


def newest_complete(folder: Path) -> int:
    """The newest step in a folder of checkpoints that has a manifest, which is written last; 0 where there is none.

    Looked up in the files: what the package under test thinks of them does not come in.
    """
    return max(complete_steps(folder), default=0)


def complete_steps(folder: Path) -> dict[int, int]:
    """The steps in a folder of checkpoints that have a manifest, with the time at which it was written, in ns."""
    manifests = [path for path in folder.glob("*/manifest.json") if path.parent.name.isdecimal()]
    return {int(path.parent.name): path.stat().st_mtime_ns for path in manifests}


def template(run: Path) -> dict[str, Any]:
    """The shapes of the training state that the checkpoints of a run hold, from its config.json."""
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    about, fields = config["model"], config["train"]
    model = create_model(about["name"], preset=about["preset"], **about["overrides"])
    optimiser = create_optimiser(lambda step: 1.0, gradient_clip=fields["gradient_clip"])
    fresh = jax.eval_shape(lambda: create_state(model, optimiser, config["data"]["image_size"], 0))
    return {"step": fresh.step, "params": fresh.params, "opt_state": fresh.opt_state}


def same_bits(one: Any, other: Any) -> bool:
    """Whether two pytrees have the same structure and the same numbers, to the bit."""
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(_bits(a) == _bits(b) for a, b in pairs)


def _bits(leaf: Any) -> tuple[Any, ...]:
    values = np.asarray(leaf)
    return values.dtype, values.shape, values.tobytes()


def same_checkpoint(run: Path, other: Path, step: int) -> bool:
    """Whether a step of two runs is intact in both and holds the same training state and average, to the bit.

    What cannot be read is not the same, whatever the error: a damaged checkpoint is a finding.
    """
    try:
        found = [CheckpointStore(checkpoints(one)).restore(template(other), step) for one in (run, other)]
    except Exception:
        return False
    return same_bits(*((restored.state, restored.ema_params) for restored in found))
