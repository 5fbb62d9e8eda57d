"""What the training steps of all sides have in common."""

LEARNING_RATE = 2e-5
"""The paper's."""
EMA_DECAY = 0.9999
WATCHED = ("conv_in.weight", "mid.block_1.conv1.weight", "conv_out.weight")
"""Weights, in PyTorch's names, whose change by the first step is compared."""


def ema_decay(step: int) -> float:
    """The decay of the average at `step`, counted from 0: short at first, as in `ddim_jax.training.step`."""
    return min(EMA_DECAY, (1 + step) / (10 + step))
