"""The masks that the average of the weights gives images without one, and their part in a training step, by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from revealed import pictures
from test_step import ONE

from ddim_jax.data import Augmentation, Order, training_indices
from ddim_jax.diffusion import DirectProcess
from ddim_jax.labels import Labels
from ddim_jax.sampling_options import SamplingOptions
from ddim_jax.training.input_pipeline import with_unlabelled
from ddim_jax.training.mean_teacher import RAMP, MeanTeacher, confident_pseudo_labels, weights
from ddim_jax.training.sharding import data_mesh, global_batch, place, replicated
from ddim_jax.training.state import TrainState
from ddim_jax.training.step import make_train_step
from ddim_jax.training.step_options import StepOptions

TEACHER = MeanTeacher(0.5, SamplingOptions(steps=1, clip_x0=None))


class Red(nn.Module):
    """Logits a red + b."""

    @nn.compact
    def __call__(self, image, *, train=False):
        a, b = (self.param(name, nn.initializers.zeros, ()) for name in ("a", "b"))
        return a * image[..., :1] + b


def test_what_the_teacher_is_not_sure_of_is_ignored():
    x0 = jnp.array([-1.2, -0.8, -0.79, 0.0, 0.79, 0.81, 1.0]).reshape(1, 7, 1)
    assert confident_pseudo_labels(x0, Labels())[0].tolist() == [0, 0, 255, 255, 255, 1, 1]

    several = Labels.create({"a": 1, "b": 2})
    x0 = 2 * jnp.array([[[0.05, 0.92, 0.03], [0.2, 0.2, 0.6], [0.95, 0.0, 0.05]]]) - 1
    assert confident_pseudo_labels(x0, several)[0].tolist() == [1, 255, 0]

    overlapping = Labels.create({"a": 1, "b": [1, 2]}, multilabel=True)
    x0 = 2 * jnp.array([[[0.95, 0.95], [0.95, 0.5], [0.05, 0.97]]]) - 1
    assert confident_pseudo_labels(x0, overlapping)[0].tolist() == [3, 255, 2]


def test_the_weight_rises_and_is_the_share_of_sure_pixels():
    masks = jnp.array([[[0, 1], [255, 1]], [[255, 255], [255, 255]]], jnp.uint8)
    for step, ramp in ((0, np.exp(-5)), (RAMP // 2, np.exp(-1.25)), (RAMP, 1.0), (10 * RAMP, 1.0)):
        np.testing.assert_allclose(weights(TEACHER, jnp.int32(step), masks), [0.5 * 0.75 * ramp, 0.0], rtol=1e-6)


def loss_of(logits, truth, valid):
    """Cross-entropy and soft Dice of one image over its valid pixels, float64."""
    entropy = np.logaddexp(0, logits) - logits * truth
    probability = valid / (1 + np.exp(-logits))
    overlap = (probability * truth * valid).sum()
    dice = (2 * overlap + 1) / (probability.sum() + (truth * valid).sum() + 1)
    return (entropy * valid).sum() / max(valid.sum(), 1) + 1 - dice


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_step_by_hand(accumulate):
    images, masks = pictures()
    others, _ = pictures(batch=5, seed=1)
    rows = np.array([4, 4, 0, 1, 2, 3, 0, 1], np.int32)
    optimiser, mesh = optax.sgd(0.1), data_mesh(8, ONE, accumulate=accumulate)
    options = StepOptions(seed=0, ema_decay=0.9, augmentation=Augmentation(), accumulate=accumulate, teacher=TEACHER)
    step = make_train_step(Red(), DirectProcess(), optimiser, mesh, options)
    student, taught_by = ({"a": jnp.float32(a), "b": jnp.float32(b)} for a, b in ((3.0, 0.5), (4.0, -0.25)))
    state = TrainState(jnp.int32(700), student, taught_by, optimiser.init(student))
    state = jax.device_put(state, replicated(mesh))
    batch = {**global_batch(mesh, {"image": images, "mask": masks, "unlabelled_row": rows}),
             "unlabelled": place(mesh, others)}  # fmt: skip
    after, metrics = step(state, batch)

    red, of_others = images[..., 0] / 127.5 - 1, others[rows, ..., 0] / 127.5 - 1
    sure = 1 / (1 + np.exp(-(4.0 * of_others - 0.25)))
    truth, valid = sure > 0.5, np.maximum(sure, 1 - sure) >= 0.9
    assert 0.2 < valid.mean() < 0.9
    ramp = 0.5 * np.exp(-5 * (1 - 700 / RAMP) ** 2)

    def loss(a, b):
        own = [loss_of(a * x + b, y, np.ones_like(x)) for x, y in zip(red, masks, strict=True)]
        taught = [v.mean() * loss_of(a * x + b, y, v) for x, y, v in zip(of_others, truth, valid, strict=True)]
        return np.mean(own) + ramp * np.mean(taught)

    assert float(metrics["loss"]) == pytest.approx(loss(3.0, 0.5), rel=1e-5)
    slopes = [(loss(3.0 + h, 0.5) - loss(3.0 - h, 0.5)) / (2 * h) for h in (1e-5,)]
    slopes += [(loss(3.0, 0.5 + h) - loss(3.0, 0.5 - h)) / (2 * h) for h in (1e-5,)]
    found = [float(after.params["a"]), float(after.params["b"])]
    np.testing.assert_allclose(found, [3.0 - 0.1 * slopes[0], 0.5 - 0.1 * slopes[1]], rtol=1e-5)


def loss_of_moved_images(teacher, a, b):
    """The loss of shifted images that are all foreground; teacher and student are a red + b, the ramp is at its end."""
    images, masks = pictures()
    mesh, optimiser = data_mesh(8, ONE), optax.sgd(0.1)
    options = StepOptions(seed=0, ema_decay=0.9, augmentation=Augmentation(shift=0.5), teacher=teacher)
    step = make_train_step(Red(), DirectProcess(), optimiser, mesh, options)
    own = {"a": jnp.float32(a), "b": jnp.float32(b)}
    state = TrainState(jnp.int32(RAMP), own, own, optimiser.init(own))
    state = jax.device_put(jax.tree.map(jnp.copy, state), replicated(mesh))
    batch = global_batch(mesh, {"image": images, "mask": np.ones_like(masks)})
    if teacher:
        rows = global_batch(mesh, {"unlabelled_row": np.arange(8, dtype=np.int32)})
        batch |= {**rows, "unlabelled": place(mesh, images)}
    return float(step(state, batch)[1]["loss"])


def test_the_loss_of_labelled_images_is_that_of_a_training_without_others():
    """Beyond the edge of an image that augmentation moves is background, in both."""
    alone, with_others = (
        loss_of_moved_images(teacher, 3.0, 0.5) for teacher in (None, MeanTeacher(0.0, TEACHER.options))
    )
    assert alone == pytest.approx(with_others, rel=1e-5)


def test_beyond_the_edge_of_an_unlabelled_image_nothing_counts():
    """With logits of 20 everywhere, images taught to be foreground add 0 to the loss; background would add 20."""
    alone, with_others = (loss_of_moved_images(teacher, 0.0, 20.0) for teacher in (None, TEACHER))
    assert alone == pytest.approx(with_others, rel=1e-5)
    assert alone > 1  # of labelled ones the edge is background


def test_unlabelled_rows_depend_on_the_step_alone_and_visit_every_picture():
    mesh, others = data_mesh(4, ONE), np.zeros((6, 2, 2, 3), np.uint8)

    def rows(start_step, count):
        taken = with_unlabelled(iter([{}] * count), others, mesh, Order(4, seed=7, start_step=start_step))
        return np.concatenate(
            [np.asarray(batch["unlabelled_row"]) for _, batch in zip(range(count), taken, strict=False)]
        )

    whole = rows(0, 6)
    np.testing.assert_array_equal(rows(2, 4), whole[8:])
    assert all(sorted(part) == list(range(6)) for part in whole.reshape(4, 6))


def test_as_many_unlabelled_images_as_labelled_ones_are_not_always_beside_the_same():
    """Rows of both in one order would pair image k with image k in every pass."""
    count, order = 60, Order(4, seed=7)
    labelled = ({"row": rows} for rows in training_indices(count, order))
    both = with_unlabelled(labelled, np.zeros((count, 2, 2, 3), np.uint8), data_mesh(4, ONE), order)
    pairs = [np.stack([batch["row"], batch["unlabelled_row"]]) for _, batch in zip(range(45), both, strict=False)]
    rows, beside = np.concatenate(pairs, axis=1).reshape(2, 3, count)  # three passes
    assert all(sorted(one) == list(range(count)) for one in (*rows, *beside))
    assert (rows == beside).mean() < 0.1
    partners = [dict(zip(*one, strict=True)) for one in zip(rows, beside, strict=True)]
    assert sum(partners[0][row] == partners[1][row] for row in range(count)) < 6
