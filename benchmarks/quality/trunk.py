"""Scores the trunk of a `trunk_ddim` network alone, the whole network, and the two fused, image by image.

python -m benchmarks.quality.trunk --ckpt CKPT... --data FOLDER... [--elsewhere FOLDER...] [--workdir DIR]

The trunk is a U-Net whose logits are trained as a mask; the head refines them. Each CKPT is a run, a file of packed
weights or a packaged name, trained on the FOLDER that stands at the same place; of that the splits val and test are
scored, and of the folder elsewhere all images, each at its own size and as the checkpoint samples. Writes a row for
each source into docs/results/trunk.json; `python -m benchmarks.render` puts the table into the page. What the
evaluations write stays in DIR.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, provenance
from benchmarks.quality.ablation import TOO_NARROW, gain_of
from benchmarks.quality.rows import scores_of_images
from benchmarks.result_file import add_row, read_rows, result_parser
from benchmarks.tables import Columns, images_of, measured_at, table
from ddim_jax.checkpoints.packed import Packed, write_packed
from ddim_jax.checkpoints.weights import open_weights
from ddim_jax.config import saved_config, without_paths
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.runtime.errors import InputError, report_input_errors

OUTPUT = ROOT / "docs" / "results" / "trunk.json"
IDENTITY = ("dataset", "source", "system", "size")
RULES = {
    "source": "val, test: the splits of the folder that was trained on; elsewhere: all images of another folder",
    "dice": "protocol mean, at each image's own size, the mean over the images: of the trunk, of the whole network, "
    "and of the two fused (mean of the probabilities)",
    "whole_gain": "the mean difference of the whole from the trunk, image by image; whole_gain_ci: 95% percentile "
    "bootstrap over the images",
    "fused_gain": "the same of the fused from the whole",
}


def pack_trunk(ckpt: str, output: Path, step: str = "best") -> Packed:
    """Writes the trunk's weights as a file of the network `unet`, without a calibration.

    Raises:
      InputError: the network has no trunk.
      InputError, CheckpointError, OSError: as `open_weights` and `write_packed`.
    """
    found = open_weights(ckpt, step)
    config = without_paths(saved_config(found.about, found.metadata))
    if config["model"]["name"] != "trunk_ddim":
        raise InputError(f"{ckpt} has the network {config['model']['name']}; expected trunk_ddim")
    overrides = {name: value for name, value in config["model"]["overrides"].items() if name != "light"}
    config["model"] = config["model"] | {"name": "unet", "overrides": overrides}
    config["diffusion"] = dict.fromkeys(config["diffusion"])  # a network of one pass has none of its fields
    config["sample"] = config["sample"] | {"sampler": None, "steps": 1}
    metadata = found.metadata | {"config": config, "calibration": None}
    about = {name: (found.metadata.get("data") or {}).get(name, "") for name in ("note", "terms")}
    return write_packed(output, found.params["trunk"], step=found.step, metadata=metadata, **about)


def rows_of(ckpt: str, data: Path, elsewhere: Path | None, workdir: Path) -> list[dict[str, Any]]:
    """The rows of one checkpoint.

    Raises:
      InputError: as `pack_trunk` and `ddim_jax.evaluation.evaluate_checkpoint`; or a packed trunk is in `workdir`.
    """
    dataset = data.resolve().name
    trunk = workdir / f"{dataset}_trunk.safetensors"
    workdir.mkdir(parents=True, exist_ok=True)
    pack_trunk(ckpt, trunk)
    systems = {"trunk": str(trunk), "whole": ckpt, "fused": [ckpt, str(trunk)]}
    sources = {"val": ("val", data), "test": ("test", data)} | ({"elsewhere": ("all", elsewhere)} if elsewhere else {})
    config = open_weights(ckpt).metadata["config"]
    about = {"dataset": dataset, "system": config["model"]["name"], "size": config["data"]["image_size"]}
    rows = []
    for source, (split, root) in sources.items():
        scores = {}
        for name, system in systems.items():
            output = workdir / f"{dataset}_{name}_{source}"
            evaluate_checkpoint(system, split, output_dir=output, data_root=root, figures=False)
            scores[name] = scores_of_images(output)
        rows.append(about | {"source": source} | compared(scores) | provenance())
    return rows


def compared(scores: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The numbers of a row, of the Dice by the image's name of "trunk", "whole" and "fused"."""
    whole, fused = (gain_of([[scores[a]], [scores[b]]], of=1) for a, b in (("trunk", "whole"), ("whole", "fused")))
    return {
        "n": len(scores["trunk"]),
        "dice": [*whole["dice"], fused["dice"][1]],
        "whole_gain": whole["gain"],
        "whole_gain_ci": whole["gain_ci"],
        "fused_gain": fused["gain"],
        "fused_gain_ci": fused["gain_ci"],
    }


def trunks(root: Path) -> str:
    """The table of docs/results/trunk.json."""
    rows = read_rows(root / "docs" / "results" / "trunk.json")
    return table(_COLUMNS, rows) + TOO_NARROW + measured_at(rows, "Evaluated")


_COLUMNS: Columns = {
    "images": images_of,
    "n": "{n}",
    "input size": "{size}",
    "trunk alone": "{dice[0]:.4f}",
    "whole network": "{dice[1]:.4f}",
    "both fused": "{dice[2]:.4f}",
    "whole - trunk, bootstrap interval": "{whole_gain:+.4f} [{whole_gain_ci[0]:+.4f}, {whole_gain_ci[1]:+.4f}]",
    "fused - whole, bootstrap interval": "{fused_gain:+.4f} [{fused_gain_ci[0]:+.4f}, {fused_gain_ci[1]:+.4f}]",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = result_parser(__doc__, OUTPUT, "runs/trunk")
    parser.add_argument("--ckpt", nargs="+", required=True, help="runs, files of weights, packaged names")
    parser.add_argument("--data", nargs="+", required=True, type=Path, metavar="FOLDER", help="of each training")
    parser.add_argument("--elsewhere", nargs="+", type=Path, default=[], metavar="FOLDER", help="one for each, or none")
    given = parser.parse_args(arguments)
    with report_input_errors("stopped"):
        elsewhere = given.elsewhere or [None] * len(given.data)
        if not len(given.ckpt) == len(given.data) == len(elsewhere):
            raise InputError(
                f"--ckpt has {len(given.ckpt)}, --data {len(given.data)} and --elsewhere {len(given.elsewhere)}; "
                "expected one folder for each checkpoint"
            )
        for ckpt, data, other in zip(given.ckpt, given.data, elsewhere, strict=True):
            for row in rows_of(ckpt, data, other, given.workdir):
                add_row(given.output, RULES, row, IDENTITY)
                print(
                    "{dataset} {source}: whole {whole_gain:+.4f}, fused {fused_gain:+.4f}".format_map(row), flush=True
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
