"""The whole of an evaluation from the names of a checkpoint and a split."""

import os
from pathlib import Path
from typing import Any

from ddim_jax.data import load_dataset
from ddim_jax.evaluation.run import evaluate
from ddim_jax.inference import Segmenter


def evaluate_checkpoint(
    checkpoint: str | os.PathLike,
    split: str = "test",
    *,
    output_dir: str | os.PathLike | None = None,
    data_root: str | os.PathLike | None = None,
    step: str | int = "best",
    **options: Any,
) -> tuple[dict[str, Any], Path]:
    """Loads a checkpoint and the data set it was trained on, and evaluates a split of it.

    Args:
      checkpoint: a run directory, its `checkpoints` folder, or the folder of one step.
      split: "train", "val" or "test".
      output_dir: None for `evaluation/<split>` in the run directory.
      data_root: where the data set lies; None for the place that the checkpoint's config names.
      step: "best", "latest" or a step.
      **options: passed on to `ddim_jax.evaluation.evaluate`.

    Returns:
      What `metrics.json` holds, and the folder it was written to.

    Raises:
      InputError: as `Segmenter.load`, `load_dataset` and `evaluate` do.
    """
    segmenter = Segmenter.load(checkpoint, step=step)
    data = segmenter.config["data"]
    source = load_dataset(
        data["name"],
        split,
        root=data.get("root") if data_root is None else data_root,
        seed=data.get("split_seed", 0),
        image_size=data["image_size"],
        counts=data.get("counts"),
    )
    if output_dir is None:
        # The step folder lies in RUN/checkpoints; a folder of steps under another name stands for itself.
        steps_folder = Path(segmenter.checkpoint).parent
        run = steps_folder.parent if steps_folder.name == "checkpoints" else steps_folder
        output_dir = run / "evaluation" / split
    return evaluate(segmenter, source, output_dir, split=split, **options), Path(output_dir)
