"""A data set scored with a checkpoint: numbers per image, their summary, and figures."""

from ddim_jax.evaluation.checkpoint import evaluate_checkpoint
from ddim_jax.evaluation.run import RESOLUTIONS, evaluate
from ddim_jax.evaluation.tables import summary_table

__all__ = ["RESOLUTIONS", "evaluate", "evaluate_checkpoint", "summary_table"]
