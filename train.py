"""Trains a model: python train.py --config configs/demo.py [--workdir DIR] [--config.FIELD=VALUE ...]."""

import sys

from ddim_jax.cli.main import train

if __name__ == "__main__":
    sys.exit(train())
