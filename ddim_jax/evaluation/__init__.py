"""A data set scored with a checkpoint: numbers per image, their summary, and figures."""

from ddim_jax.evaluation.checkpoint import evaluate_checkpoint, open_split
from ddim_jax.evaluation.options import RESOLUTIONS, EvaluationOptions
from ddim_jax.evaluation.run import evaluate
from ddim_jax.evaluation.tables import summary_table

__all__ = ["RESOLUTIONS", "EvaluationOptions", "evaluate", "evaluate_checkpoint", "open_split", "summary_table"]
