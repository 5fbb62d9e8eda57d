"""Segments image files with a trained checkpoint: python sample.py --ckpt RUN --input photos/ --output results/"""

import sys

from ddim_jax.cli.main import sample

if __name__ == "__main__":
    sys.exit(sample())
