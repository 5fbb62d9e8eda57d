"""The whole of an evaluation from the names of a checkpoint and a split."""

import os
from pathlib import Path
from typing import Any

from ddim_jax.data import Source, ids_digest, load_dataset
from ddim_jax.evaluation.run import evaluate
from ddim_jax.imageio.images import ReadOptions
from ddim_jax.inference import Segmenter
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.remote import local_path
from ddim_jax.sampling_options import SamplingOptions


def evaluate_checkpoint(
    checkpoint: str | os.PathLike,
    split: str = "test",
    options: SamplingOptions | None = None,
    *,
    output_dir: str | os.PathLike | None = None,
    data_root: str | os.PathLike | None = None,
    step: str | int = "best",
    require_sha256: str | None = None,
    **given: Any,
) -> tuple[dict[str, Any], Path]:
    """Loads a checkpoint and the data set it was trained on, and evaluates a split of it.

    Args:
      checkpoint: a run directory, its `checkpoints` folder, or the folder of one step.
      split: "train", "val" or "test".
      output_dir: None for `evaluation/<split>` in the run directory.
      data_root: where the data set lies; None for the place that the checkpoint's config names. Pictures from there
        that were trained on are the caller's to keep out of the split.
      step: "best", "latest" or a step.
      require_sha256: as for `Segmenter.load`.
      options, **given: passed on to `ddim_jax.evaluation.evaluate`.

    Returns:
      What `metrics.json` holds, and the folder it was written to.

    Raises:
      InputError: as `Segmenter.load`, `load_dataset` and `evaluate` do, or the split has changed since training.
    """
    data_root, output_dir = local_path(data_root, "data_root"), local_path(output_dir, "output_dir")
    segmenter = Segmenter.load(checkpoint, step=step, require_sha256=require_sha256)
    data = segmenter.config["data"]

    def load(name: str) -> Source:
        return load_dataset(
            data["name"],
            name,
            root=data.get("root") if data_root is None else data_root,
            seed=data.get("split_seed", 0),
            image_size=data["image_size"],
            cache_dir=data.get("cache_dir"),
            counts=data.get("counts"),
            labels=Labels.from_config(data),
            reading=ReadOptions.of(data),
        )

    source = load(split)
    trained_on = segmenter.training_data.get("train_ids_sha256")
    if data_root is None and trained_on is not None and trained_on != ids_digest(load("train")):
        raise InputError(
            f"{data.get('root') or data['name']}: its training split is not the one {segmenter.checkpoint} was trained "
            "on, so pictures of it may be in the other splits now. Restore its splits.csv, or name the folder with "
            "--data-root if none of its pictures was trained on."
        )
    if output_dir is None:
        # The step folder lies in RUN/checkpoints; a folder of steps under another name stands for itself.
        steps_folder = Path(segmenter.checkpoint).parent
        run = steps_folder.parent if steps_folder.name == "checkpoints" else steps_folder
        output_dir = run / "evaluation" / split
    return evaluate(segmenter, source, output_dir, options, split=split, **given), Path(output_dir)
