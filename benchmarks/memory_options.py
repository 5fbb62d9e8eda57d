"""Memory of a training step with gradient accumulation and rematerialisation, as the compiler plans it.

python -m benchmarks.memory_options [--model lightweight_ddim] [--preset small] [--size 64] [--batch 16]

Compiles the step and runs nothing. Two numbers tell what an option saves: what JAX keeps from the way through the
network for the way back ("kept", the same on every platform), and what the compiler of this platform plans for all that
is computed ("temporary") beside the weights, the optimiser and the batch that stay. They differ where the compiler
keeps what it was told to compute again, or drops what it can do without. Writes docs/results/memory_options.json.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddim_jax.diffusion import DiffusionProcess
from ddim_jax.models import create_model, example_inputs
from ddim_jax.runtime.atomic import write_json
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.training.optimiser import create_optimiser
from ddim_jax.training.sharding import data_mesh
from ddim_jax.training.state import create_state
from ddim_jax.training.step import make_train_step

OUTPUT = Path(__file__).parents[1] / "docs" / "results" / "memory_options.json"
PARTS = (1, 2, 4)


def measure(model_name: str, preset: str | None, size: int, batch: int, accumulate: int, remat: bool) -> dict[str, Any]:
    """The memory of one step on one device, in bytes."""
    model = create_model(model_name, preset=preset, remat=remat)
    process = DiffusionProcess.create(prediction="x0", loss="bce_dice", mask_scale=0.1)
    optimiser = create_optimiser(lambda step: 1e-3)
    step = make_train_step(
        model,
        process,
        optimiser,
        data_mesh(batch, jax.devices()[:1], accumulate),
        seed=0,
        ema_decay=0.999,
        rotation_degrees=15.0,
        flips=True,
        accumulate=accumulate,
    )
    state = jax.eval_shape(lambda: create_state(model, optimiser, size, 0))
    pictures = {
        "image": jax.ShapeDtypeStruct((batch, size, size, 3), jnp.uint8),
        "mask": jax.ShapeDtypeStruct((batch, size, size), jnp.uint8),
    }
    plan = step.lower(state, pictures).compile().memory_analysis()
    return {
        "accumulate": accumulate,
        "remat": remat,
        "kept_bytes": _kept_bytes(model, process, size, batch // accumulate),
        "temporary_bytes": plan.temp_size_in_bytes,
        "argument_bytes": plan.argument_size_in_bytes,
    }


def _kept_bytes(model: nn.Module, process: DiffusionProcess, size: int, batch: int) -> int:
    """What the backward pass of one part of the batch is handed, weights included."""

    def backward(params, *examples):
        def apply(params, *inputs):
            return model.apply({"params": params}, *inputs, train=True, rngs={"dropout": jax.random.key(0)})

        return jax.vjp(lambda params: jnp.mean(process.losses(apply, params, *examples)), params)[1]

    params = jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model, size))["params"]
    mask, image = (jax.ShapeDtypeStruct((batch, size, size, channels), jnp.float32) for channels in (1, 3))
    kept = jax.eval_shape(backward, params, mask, image, mask, jax.ShapeDtypeStruct((batch,), jnp.int32))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    denoisers = ("lightweight_ddim", "ddim", "medsegdiff")
    parser.add_argument("--model", choices=denoisers, default=denoisers[0], help="default: lightweight_ddim")
    parser.add_argument("--preset", choices=("paper", "small"), default="small", help="default: small")
    parser.add_argument("--size", type=int, default=64, metavar="N", help="height and width; default: 64")
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="default: 16")
    parser.add_argument(
        "--output", default=str(OUTPUT), metavar="FILE", help="default: docs/results/memory_options.json"
    )
    given = parser.parse_args(arguments)
    preset = None if given.preset == "paper" else given.preset
    about = {"model": given.model, "preset": given.preset, "size": given.size, "batch": given.batch}
    about |= {"platform": jax.default_backend(), "device": jax.devices()[0].device_kind, "jax": jax.__version__}
    rows = []
    with report_input_errors():
        for accumulate, remat in itertools.product(PARTS, (False, True)):
            rows.append(measure(given.model, preset, given.size, given.batch, accumulate, remat))
            print(json.dumps(rows[-1]), flush=True)
        write_json(given.output, {**about, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
