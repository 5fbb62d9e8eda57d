"""Packs the trunk of a `trunk_ddim` network as a plain U-Net, to be scored alone and fused with the whole network.

python -m benchmarks.quality.trunk CKPT OUTPUT.safetensors [--step N]

The trunk is a U-Net whose logits are trained as a mask; the head refines them. `ddim-jax evaluate --ckpt CKPT
OUTPUT.safetensors --data-root DIR --output DIR` then scores the mean of the two, and `--ckpt OUTPUT.safetensors` the
trunk alone.
"""

import argparse
import sys
from pathlib import Path

from ddim_jax.checkpoints.packed import Packed, write_packed
from ddim_jax.checkpoints.weights import open_weights
from ddim_jax.config import saved_config, without_paths
from ddim_jax.runtime.errors import InputError, report_input_errors


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt", metavar="CKPT", help="a run, a file of packed weights or a packaged name")
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="a file that is not there yet, NAME.safetensors")
    parser.add_argument("--step", default="best", help="of a run; default best")
    args = parser.parse_args()
    with report_input_errors():
        print(f"{args.output}: SHA-256 {pack_trunk(args.ckpt, args.output, args.step).file_sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
