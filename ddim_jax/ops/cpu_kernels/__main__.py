"""python -m ddim_jax.ops.cpu_kernels: compiles the CPU kernels for this machine."""

from ddim_jax.ops.cpu_kernels.library import build
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.runtime.printable import printable

if __name__ == "__main__":
    with report_input_errors("stopped; the kernels were not compiled"):
        print(f"built {printable(build())}")
