"""Makes a file of packaged weights again: every part of its training, its calibration, one file.

python -m benchmarks.quality.pretrained lung_xray --data FOLDER [--workdir DIR] [--output FILE]

FOLDER has images, masks and the splits.csv of the training (docs/reference/models). A run that is there already is not
trained again, and one that was stopped goes on. At the end the validation Dice is printed beside that of the file that
the package has: other processors, and other versions of the kernels, give other last bits and so another network of the
same kind.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from benchmarks.quality.runs import run_resumable
from benchmarks.quality.trainings import train_to_end
from configs import folder, polyp, skin
from ddim_jax.checkpoints.packed import check_output
from ddim_jax.checkpoints.weights import open_weights
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.inference.packing import pack
from ddim_jax.pretrained import file_of
from ddim_jax.runtime.errors import report_input_errors


class Recipe(NamedTuple):
    """The trainings that a file was made by.

    Attributes:
      config: the module of configs/ that all parts begin with.
      parts: of the training, one after the other: what each sets in that config. Each but the first begins with the
        weights of the one before.
      step: of each part, which is gone on from and in the end packed.
      segments: what the class is, for DICOM-SEG.
    """

    config: ModuleType
    parts: tuple[Mapping[str, Any], ...]
    step: tuple[str, ...]
    segments: tuple[str, ...]


_HALF = {"data.empty_windows": 0.5}
_FINE = {"data.image_size": 128, "train.steps": 2000, "train.checkpoint_every": 500}
RECIPES = {
    "lung_xray": Recipe(folder, ({},), ("best",), ("Lung",)),
    "skin_lesion": Recipe(skin, ({},), ("best",), ("MorphologicallyAbnormalStructure/SkinLesion",)),
    "polyp": Recipe(
        polyp,
        (
            {},
            _FINE,
            _FINE | {"data.empty_windows": 0.3},
            _FINE | _HALF,
            _FINE | _HALF | {"data.erased": 0.1},
        ),
        ("best", "best", "latest", "latest", "latest"),
        ("MorphologicallyAbnormalStructure/PolypOfColon",),
    ),
}


def make(name: str, data: Path, workdir: Path, output: Path, more: Mapping[str, Any]) -> Mapping[str, float]:
    """Trains, calibrates on the validation split and packs; gives the Dice there, of this file and of the packaged.

    Args:
      name: of a recipe.
      data: the folder of images.
      workdir: of the runs, NAME_1, NAME_2 and so on, and of what the evaluations write.
      output: ends in .safetensors; nothing is written over.
      more: fields of every part, for a trial.

    Raises:
      KeyboardInterrupt: as `train_to_end`.
      InputError: as the training, the evaluation and `ddim_jax.inference.packing.pack`.
    """
    recipe = RECIPES[name]
    check_output(output)
    packaged_file = file_of(name)  # by its path: the folder of images may have the name too
    about = open_weights(packaged_file).metadata["data"]
    begin: str | None = None
    for number, (part, step) in enumerate(zip(recipe.parts, recipe.step, strict=True), start=1):
        config, run = recipe.config.get_config(), workdir / f"{name}_{number}"
        config.data.root, config.train.init_from = str(data), begin
        config.update_from_flattened_dict({**part, **more})
        train_to_end(config, run)
        begin = str(run) if step == "best" else str(run / "checkpoints" / str(config.train.steps))
    step = recipe.step[-1]
    metrics, _ = evaluate_checkpoint(run, "val", step=step, calibrate=0.9, figures=False)
    pack(run, output, step=step, note=about["note"], terms=about["terms"], segments=recipe.segments)
    there, _ = evaluate_checkpoint(
        packaged_file, "val", data_root=data, output_dir=workdir / f"{name}_packaged", figures=False
    )
    made, packaged = (one["protocols"]["mean"]["per_image"]["dice"]["mean"] for one in (metrics, there))
    return {"made": made, "packaged": packaged}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RECIPES, help="of the packaged weights")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="images, masks and splits.csv")
    parser.add_argument("--workdir", type=Path, default=Path("runs/pretrained"), metavar="DIR", help="%(default)s")
    parser.add_argument("--output", type=Path, metavar="FILE", help="NAME.safetensors")
    parser.add_argument("--steps", type=int, metavar="N", help="of every part, for a trial")
    given = parser.parse_args(arguments)
    output = given.output or Path(f"{given.name}.safetensors")
    more = {} if given.steps is None else {"train.steps": given.steps, "train.warmup_steps": 0}
    with report_input_errors("stopped"):
        dice = make(given.name, given.data, given.workdir, output, more)
    print(f"{output}: Dice {dice['made']:.4f} on the validation split; the packaged file has {dice['packaged']:.4f}")
    return 0


if __name__ == "__main__":
    run_resumable(main)
