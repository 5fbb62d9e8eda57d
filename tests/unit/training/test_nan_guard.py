import math

import jax.numpy as jnp
import pytest

from ddim_jax.runtime.errors import InputError
from ddim_jax.training.nan_guard import LossWatch, NonFiniteLoss


def metrics(loss, norm=1.0):
    return {"loss": jnp.float32(loss), "gradient_norm": jnp.float32(norm)}


def test_means_since_the_last_call():
    watch = LossWatch()
    for step, loss in enumerate((1.0, 2.0, 6.0, 3.0), start=1):
        watch.add(step, metrics(loss, 2 * loss))
    assert watch.drain() == {"loss": 3.0, "gradient_norm": 6.0}
    assert watch.drain() == {}
    watch.add(5, metrics(4.0))
    assert watch.drain() == {"loss": 4.0, "gradient_norm": 1.0}


def test_a_bad_step_is_found_when_it_is_done():
    watch = LossWatch(ahead=2)
    watch.add(41, metrics(math.nan))
    watch.add(42, metrics(math.nan))  # under way as well
    with pytest.raises(NonFiniteLoss, match=r"^the loss of step 41 is nan$"):
        watch.add(43, metrics(1.0))


@pytest.mark.parametrize(
    ("loss", "norm", "message"),
    [(math.inf, 1.0, "the loss of step 2 is inf"), (1.0, math.nan, "the gradient norm of step 2 is nan")],
)
def test_nothing_bad_is_averaged(loss, norm, message):
    watch = LossWatch()
    watch.add(1, metrics(1.0))
    watch.add(2, metrics(loss, norm))
    with pytest.raises(NonFiniteLoss, match=message):
        watch.drain()
    assert issubclass(NonFiniteLoss, InputError)
