"""python -m ddim_jax COMMAND ...: the same as ddim-jax COMMAND ..."""

import sys

from ddim_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
