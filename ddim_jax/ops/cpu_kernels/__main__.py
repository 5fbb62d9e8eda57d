"""python -m ddim_jax.ops.cpu_kernels: compiles the CPU kernels for this machine, unless they are there."""

from ddim_jax.ops.cpu_kernels.library import available, build, library_path
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.runtime.printable import printable

if __name__ == "__main__":
    with report_input_errors("stopped; the kernels were not compiled"):
        path = library_path()
        print(f"CPU kernels: {printable(path if path and available() else build())}")
