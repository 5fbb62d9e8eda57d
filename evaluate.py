"""Scores a checkpoint on a split of its data set: python evaluate.py --ckpt RUN --split test"""

import sys

from ddim_jax.cli.main import evaluate

if __name__ == "__main__":
    sys.exit(evaluate())
