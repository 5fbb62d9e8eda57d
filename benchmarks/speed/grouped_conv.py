"""Times the lowerings of a grouped convolution one by one: what the choices in `ddim_jax/ops/grouped_conv.py` rest on.

python -m benchmarks.speed.grouped_conv --output benchmarks/results/grouped_conv_h100.json
and on CPUs, grouped_conv_cpu.json (AVX-512) and grouped_conv_avx2.json, with --batch 1 --scale 4 --dtype float32;
ordinary_conv_avx2.json with --ordinary --batch 4 --scale 4 --dtype float32
tiles_avx512.json with --tiles: direct sums beside minimal filtering in tiles of 2 x 2 and of 4 x 4, on one thread

The shapes are those of the lightweight network at 256 x 256, with --ordinary those of the standard one. Each time is
the median of three runs of ten calls (--ordinary: of three), after a first call that compiles; forward is the
convolution, backward both of its gradients. "compile_s" is what the two first calls took, their own arithmetic
included, which is most of it where a gradient takes a second.

With --tiles the shapes are those of the recommended network with four samples and with 16 images, of the lightweight
and of the standard network. The forms take turns, a call each; of 60 calls the shortest fifth counts, since other
programs only ever make a call longer. "input" and "kernel" are the two gradients; "difference" is the largest relative
difference in norm of the three from those of the direct sums.
"""

import argparse
import functools
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import device_in_words, provenance
from ddim_jax.models.spec import DTYPES
from ddim_jax.ops import cpu_kernels
from ddim_jax.ops.cpu_kernels import library
from ddim_jax.ops.grouped_conv import _conv, _matrix_product, _supergroup_conv
from ddim_jax.runtime import allocator
from ddim_jax.runtime.atomic import write_json

SHAPES = [(256, 128, 128, 16), (256, 256, 128, 32), (128, 128, 128, 16), (64, 256, 256, 32), (64, 512, 256, 32)]
SHAPES += [(16, 512, 512, 32), (8, 1024, 512, 32)]
"""Side, channels in and out, groups."""
ORDINARY = [(256, 128, 128, 1), (256, 256, 128, 1), (64, 256, 256, 1), (64, 512, 256, 1), (32, 256, 256, 1)]
ORDINARY += [(16, 512, 512, 1), (8, 1024, 512, 1)]
TILES = [(4, 32, 16, 16, 1), (4, 32, 32, 16, 1), (4, 16, 32, 32, 1), (4, 16, 64, 32, 1), (4, 16, 32, 32, 4)]
TILES += [(4, 8, 48, 48, 1), (4, 8, 96, 48, 1), (4, 4, 64, 64, 1), (16, 32, 16, 16, 1), (16, 16, 32, 32, 1)]
TILES += [(16, 8, 48, 48, 1), (16, 4, 64, 64, 1), (1, 64, 128, 128, 16), (1, 64, 256, 128, 32), (1, 32, 256, 256, 32)]
TILES += [(1, 32, 512, 256, 32), (4, 16, 512, 512, 32), (4, 8, 1024, 512, 32), (4, 64, 128, 128, 1)]
TILES += [
    (4, 32, 256, 256, 1),
    (4, 16, 512, 256, 1),
    (4, 8, 512, 512, 1),
    (1, 256, 128, 128, 16),
    (1, 256, 256, 128, 32),
]
"""Images, side, channels in and out, groups."""
WIDTHS = (32, 64, 128, 2**20)
"""Input channels of a supergroup, at most; the last is one dense convolution."""


def measure(function, *arguments, calls: int) -> tuple[float, float]:
    """(seconds of the first call, median milliseconds of a call)."""
    began = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    first = time.perf_counter() - began
    runs = []
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(calls):
            result = function(*arguments)
        jax.block_until_ready(result)
        runs.append((time.perf_counter() - began) / calls)
    return first, 1e3 * statistics.median(runs)


def rows(shapes, batch: int, scale: int, dtype, calls: int):
    """One row for each shape and lowering; `scale` divides the sides, for a trial on a small machine."""
    for side, channels, features, groups in shapes:
        side //= scale
        keys = jax.random.split(jax.random.key(0), 3)
        x = jax.random.normal(keys[0], (batch, side, side, channels), dtype)
        kernel = jax.random.normal(keys[1], (3, 3, channels // groups, features), dtype)
        gradient = jax.random.normal(keys[2], (batch, side, side, features), dtype)
        lowerings = {"native": lambda x, k, g=groups: _conv(x, k, (1, 1), "SAME", g)}
        widths = WIDTHS if groups > 1 else ()
        for merge in sorted({min(groups, max(1, width * groups // channels)) for width in widths}):
            lowerings[f"supergroups of {merge * channels // groups} channels"] = lambda x, k, g=groups, m=merge: (
                _supergroup_conv(x, k, g, m, (1, 1), "SAME")
            )
        if jax.default_backend() == "cpu" and dtype == jnp.float32 and cpu_kernels.available():
            names = {"compiled kernels": 0, "compiled, minimal filtering": 2, "compiled, minimal filtering of 4 x 4": 4}
            for name, tile in names.items():
                geometry = cpu_kernels.Geometry(groups, (1, 1), ((1, 1), (1, 1)), tile, tile)
                lowerings[name] = lambda x, k, how=geometry: cpu_kernels.conv(x, k, cpu_kernels.no_bias(len(x)), how)
        if groups == 1:
            lowerings["one matrix product"] = lambda x, k: _matrix_product(x, k, strides=(1, 1), pads=((1, 1), (1, 1)))
        for name, lowering in lowerings.items():

            def backward(x, kernel, gradient, lowering=lowering):
                return jax.vjp(lowering, x, kernel)[1](gradient)

            first, forward_ms = measure(jax.jit(lowering), x, kernel, calls=calls)
            first_back, backward_ms = measure(jax.jit(backward), x, kernel, gradient, calls=calls)
            yield {
                "case": [batch, side, channels, features, groups],
                "lowering": name,
                "forward_ms": round(forward_ms, 3),
                "backward_ms": round(backward_ms, 3),
                "compile_s": round(first + first_back, 1),
            }


def rows_of_tiles(shapes, calls: int = 60):
    """One row for each shape and side of a tile, 0 for direct sums."""
    for batch, side, channels, features, groups in shapes:
        keys = jax.random.split(jax.random.key(0), 3)
        x = jax.random.normal(keys[0], (batch, side, side, channels))
        kernel = jax.random.normal(keys[1], (3, 3, channels // groups, features))
        gradient = jax.random.normal(keys[2], (batch, side, side, features))
        forms, seconds, results = {}, {}, {}
        for tile in (0, 2, 4):
            geometry = cpu_kernels.Geometry(groups, (1, 1), ((1, 1), (1, 1)), tile, tile)
            convolve = functools.partial(cpu_kernels.conv, bias=cpu_kernels.no_bias(batch), geometry=geometry)
            forms[tile, "forward"] = jax.jit(lambda x, kernel, _, f=convolve: f(x, kernel))
            forms[tile, "input"] = jax.jit(lambda x, k, dy, f=convolve: jax.vjp(lambda x: f(x, k), x)[1](dy)[0])
            forms[tile, "kernel"] = jax.jit(lambda x, k, dy, f=convolve: jax.vjp(lambda k: f(x, k), k)[1](dy)[0])
        for form, function in forms.items():
            results[form], seconds[form] = np.asarray(function(x, kernel, gradient), np.float64), []
        for _ in range(calls):
            for form, function in forms.items():
                began = time.perf_counter()
                jax.block_until_ready(function(x, kernel, gradient))
                seconds[form].append(time.perf_counter() - began)
        for tile in (0, 2, 4):
            of_form = {name: 1e3 * sorted(seconds[tile, name])[calls // 5] for name in ("forward", "input", "kernel")}
            direct = {name: results[0, name] for name in of_form}
            apart = [np.linalg.norm(results[tile, name] - one) / np.linalg.norm(one) for name, one in direct.items()]
            yield {
                "case": [batch, side, channels, features, groups],
                "tile": tile,
                **{f"{name}_ms": round(one, 4) for name, one in of_form.items()},
                "difference": float(f"{max(apart):.1e}"),
            }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--scale", type=int, default=1, help="divide the sides of the images by this")
    parser.add_argument("--ordinary", action="store_true", help="without groups")
    parser.add_argument("--tiles", action="store_true", help="minimal filtering of each size beside direct sums")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    given = parser.parse_args(arguments)
    measured = []
    shapes, calls = (ORDINARY, 3) if given.ordinary else (SHAPES, 10)
    if given.tiles:
        if not cpu_kernels.available():
            parser.error(f"--tiles compares the compiled kernels, which are not built: {library.BUILD}")
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
        allocator.keep_freed_memory()  # as the commands do
    device = device_in_words(jax.devices()[0], threads=len(os.sched_getaffinity(0)))
    dtype = "float32" if given.tiles else given.dtype
    machine = {"device": device, "jax": jax.__version__, "dtype": dtype, **provenance()}
    made = rows_of_tiles(TILES) if given.tiles else rows(shapes, given.batch, given.scale, DTYPES[dtype], calls)
    for row in made:
        print(row, flush=True)
        measured.append(row)
        write_json(given.output, {"machine": machine, "rows": measured})  # a run that is stopped leaves what it has


if __name__ == "__main__":
    main()
