"""The compiled CPU kernels as a processor with narrower vectors would build them."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ("cpu_kernels", "winograd_rounding", "kernel_programs", "large_images", "cpu_norm")
TESTS = [Path(__file__).parents[1] / "unit/ops" / f"test_{name}.py" for name in NAMES]


@pytest.mark.needs_kernels
@pytest.mark.skipif(platform.machine() != "x86_64", reason="this processor has vectors of one width")
def test_the_next_narrower_vectors_compute_the_same(tmp_path):
    """Kernels as a processor without this one's widest registers would build them pass the tests above."""
    processor = Path("/proc/cpuinfo").read_text().split()
    architecture = "x86-64-v3" if "avx512f" in processor else "x86-64-v2"
    chosen = "equals or transpose or compiled_gradients or merged or norm or silu or winograd or finite"
    program = f"""
import sys
from pathlib import Path
import pytest
from ddim_jax.ops.cpu_kernels import library
library.FLAGS = tuple(flag.replace("native", {architecture!r}) for flag in library.FLAGS)
library.folder = lambda: Path({str(tmp_path / "cache/kernels")!r})
library.build()
sys.exit(pytest.main(["-v", "-p", "no:cacheprovider", "-k", {chosen!r}, *{[str(path) for path in TESTS]!r}]))
"""
    # The compiled programs are those of the tests above: they call the kernels by name. Memory that was not written to
    # holds large numbers.
    environment = os.environ | {"MALLOC_PERTURB_": "165"}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed and int(passed[1]) >= 25 and "skipped" not in result.stdout
