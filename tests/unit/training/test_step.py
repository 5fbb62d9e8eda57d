"""The training step against arithmetic written out by hand, and what it draws."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from revealed import PAPER, drawn, pictures

from ddim_jax.data import Augmentation
from ddim_jax.diffusion import DiffusionProcess
from ddim_jax.labels import Labels
from ddim_jax.models import create_model, param_shapes
from ddim_jax.training.optimiser import create_optimiser
from ddim_jax.training.sharding import data_mesh, global_batch, replicated
from ddim_jax.training.state import create_state, parameter_count
from ddim_jax.training.step import draws_in_training, make_train_step
from ddim_jax.training.step_options import StepOptions

ONE = jax.devices()[:1]
BETAS = 0.9, 0.999
OPTIONS = StepOptions(seed=0, ema_decay=0.9, augmentation=PAPER)


class Line(nn.Module):
    """Two parameters: eps = a x_t + b (red channel)."""

    @nn.compact
    def __call__(self, noisy_mask, image, t, *, train=False):
        a = self.param("a", nn.initializers.constant(0.5), ())
        b = self.param("b", nn.initializers.constant(-0.25), ())
        return a * noisy_mask + b * image[..., :1]


def by_hand(images, masks, *, steps, rate, clip, ema_decay, seed):
    """float64 NumPy: noising, loss, gradient, clipping, Adam and the average of the weights."""
    betas = np.linspace(1e-4, 0.02, 1000)
    alpha_bars = np.cumprod(1 - betas)
    w = np.array([0.5, -0.25])
    ema, m, v = w.copy(), np.zeros(2), np.zeros(2)
    history = []
    for step in range(steps):
        # Only the random numbers come from the package; its own augmentation is off.
        random = drawn(images, masks, devices=ONE, seed=seed, step=step, augmentation=Augmentation())
        eps = random["noise"].astype(float)
        alpha_bar = alpha_bars[random["t"].astype(int)].reshape(-1, 1, 1, 1)
        x_t = np.sqrt(alpha_bar) * (2.0 * masks[..., None] - 1) + np.sqrt(1 - alpha_bar) * eps
        red = images[..., :1] / 127.5 - 1
        wrong = w[0] * x_t + w[1] * red - eps
        gradient = np.array([np.mean(2 * wrong * x_t), np.mean(2 * wrong * red)])
        norm = np.sqrt(np.sum(gradient**2))
        history.append((np.mean(wrong**2), norm))
        if clip:
            gradient *= min(1.0, clip / norm)
        m = BETAS[0] * m + (1 - BETAS[0]) * gradient
        v = BETAS[1] * v + (1 - BETAS[1]) * gradient**2
        m_hat, v_hat = m / (1 - BETAS[0] ** (step + 1)), v / (1 - BETAS[1] ** (step + 1))
        w = w - rate(step) * m_hat / (np.sqrt(v_hat) + 1e-8)
        decay = min(ema_decay, (1 + step) / (10 + step))
        ema = decay * ema + (1 - decay) * w
    return w, ema, m, history


class SameTimesteps(DiffusionProcess):
    """Draws timesteps as `revealed.Reveals` does."""

    def draw_timesteps(self, key, shape):
        return jax.random.randint(key, shape, 0, 1000)


@pytest.mark.parametrize(("clip", "accumulate"), [(0.0, 1), (0.05, 1), (0.05, 4)])
def test_steps_equal_those_by_hand(clip, accumulate):
    def rate(step):
        return 0.01 * (step + 1)

    images, masks = pictures()
    # The average follows with (1 + k)/(10 + k) = .1, .18, .25 and then with its own 0.3.
    options = {"seed": 11, "ema_decay": 0.3}
    optimiser = create_optimiser(rate, beta1=BETAS[0], beta2=BETAS[1], gradient_clip=clip)
    process, mesh = SameTimesteps.create(prediction="noise", loss="mse"), data_mesh(8, ONE)
    train_step = make_train_step(
        Line(), process, optimiser, mesh, StepOptions(augmentation=Augmentation(), accumulate=accumulate, **options)
    )
    state = jax.device_put(create_state(Line(), optimiser, 8, 0), replicated(mesh))
    batch = global_batch(mesh, {"image": images, "mask": masks})
    metrics = []
    for _ in range(5):
        state, values = train_step(state, batch)
        metrics.append((float(values["loss"]), float(values["gradient_norm"])))

    w, ema, m, history = by_hand(images, masks, steps=5, rate=rate, clip=clip, **options)
    assert int(state.step) == 5
    np.testing.assert_allclose(metrics, history, rtol=1e-5)
    np.testing.assert_allclose([state.params["a"], state.params["b"]], w, atol=3e-6)
    np.testing.assert_allclose([state.ema_params["a"], state.ema_params["b"]], ema, atol=3e-6)
    adam = next(
        part for part in jax.tree.leaves(state.opt_state, is_leaf=lambda s: hasattr(s, "mu")) if hasattr(part, "mu")
    )
    np.testing.assert_allclose([adam.mu["a"], adam.mu["b"]], m, rtol=1e-4)
    assert min(norm for _, norm in history) > 0.05  # so that clipping matters


@pytest.mark.needs_kernels
def test_on_a_cpu_one_call_updates_the_weights_and_the_kernels_draw():
    """XLA's own would be compiled for minutes: programs for every array, and a loop for every draw."""
    images, masks = pictures()
    mesh, optimiser = data_mesh(8, ONE), create_optimiser(lambda step: 0.01, gradient_clip=1.0)
    process = DiffusionProcess.create(prediction="noise", loss="mse")
    train_step = make_train_step(Line(), process, optimiser, mesh, OPTIONS)
    state = jax.eval_shape(lambda: create_state(Line(), optimiser, 8, 0))
    program = train_step.lower(state, global_batch(mesh, {"image": images, "mask": masks})).as_text()
    assert [program.count(f"@ddim_jax_{name}(") for name in ("norm", "adam")] == [1, 1]
    assert "@ddim_jax_threefry(" in program


def test_rows_of_resident_pictures_are_those_pictures():
    images, masks = pictures(batch=12)
    mesh = data_mesh(8, ONE)
    optimiser = create_optimiser(lambda step: 0.01)
    process = DiffusionProcess.create(prediction="noise", loss="mse")
    train_step = make_train_step(Line(), process, optimiser, mesh, OPTIONS)
    rows = np.array([11, 3, 3, 0, 7, 8, 1, 2], np.int32)
    states = []
    for batch in (
        {**jax.device_put({"images": images, "masks": masks}, replicated(mesh)), **global_batch(mesh, {"row": rows})},
        global_batch(mesh, {"image": images[rows], "mask": masks[rows]}),
    ):
        states.append(train_step(jax.device_put(create_state(Line(), optimiser, 8, 0), replicated(mesh)), batch))
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_randomness_is_a_function_of_seed_step_and_position():
    images, masks = pictures()
    same = {"devices": ONE, "seed": 5, "step": 7}
    first, again = (drawn(images, masks, **same) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)

    # Other neighbours, and a shorter batch: what is drawn for places 0 to 3 stays.
    others = np.concatenate([images[:4], pictures(seed=1)[0][4:]]), np.concatenate([masks[:4], pictures(seed=1)[1][4:]])
    for image, mask in (others, (images[:4], masks[:4])):
        beside = drawn(image, mask, **same)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:4], b[:4]), first, beside)

    # The same image at every place, at other steps and with another seed: nothing comes twice.
    alike = np.repeat(images[:1], 8, axis=0), np.repeat(masks[:1], 8, axis=0)
    runs = [drawn(*alike, devices=ONE, seed=seed, step=step) for seed, step in ((5, 7), (5, 8), (6, 7))]
    noises = np.concatenate([run["noise"].reshape(8, -1) for run in runs])
    assert len(np.unique(noises, axis=0)) == 24
    assert len(np.unique(np.concatenate([run["image"].reshape(8, -1) for run in runs]), axis=0)) == 24
    assert len(np.unique(np.concatenate([run["t"] for run in runs]))) > 20
    assert abs(noises.mean()) < 0.1 and abs(noises.std() - 1) < 0.1
    assert set(np.unique(runs[0]["mask"])) == {-1.0, 1.0}


def test_without_augmentation_the_pictures_stay():
    images, masks = pictures()
    shown = drawn(images, masks, devices=ONE, seed=0, step=0, augmentation=Augmentation())
    np.testing.assert_allclose(shown["image"], images / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(shown["mask"][..., 0], np.where(masks, 1.0, -1.0))


def test_flips_alone_are_whole():
    images, masks = pictures()
    shown = drawn(images, masks, devices=ONE, seed=0, step=0, augmentation=Augmentation(flips=True))
    seen = set()
    for image, mask, result, own in zip(images, masks, shown["image"], shown["mask"], strict=True):
        found = []
        for vertical in (1, -1):
            for horizontal in (1, -1):
                turned = image[::vertical, ::horizontal] / 127.5 - 1
                if np.allclose(turned, result, atol=1e-5):
                    found.append((vertical, horizontal))
                    np.testing.assert_array_equal(own[..., 0], 2.0 * mask[::vertical, ::horizontal] - 1)
        assert len(found) == 1
        seen |= set(found)
    assert len(seen) > 1


class DropsSome(nn.Module):
    """Dropout under another name than this package's networks have for it."""

    drop_rate: float = 0.0

    @nn.compact
    def __call__(self, noisy_mask, image, t, *, train=False):
        return nn.Dropout(self.drop_rate)(
            noisy_mask * self.param("a", nn.initializers.ones, ()), deterministic=not train
        )


@pytest.mark.parametrize(
    ("model", "draws"),
    [
        (Line(), False),
        (DropsSome(), False),
        (DropsSome(drop_rate=0.5), True),
        (create_model("unet", preset="small", dropout=0.5), True),
        (create_model("unet", preset="small"), False),
    ],
)
def test_a_network_that_draws_in_training_is_seen_whatever_its_fields_are_called(model, draws):
    """Its batch is not divided into shares: each device would drop the same."""
    assert draws_in_training(model, param_shapes(model, 32), 32) is draws


def test_a_fresh_state_follows_from_the_seed():
    optimiser = create_optimiser(lambda step: 0.01)

    class Dense(nn.Module):
        @nn.compact
        def __call__(self, noisy_mask, image, t):
            return nn.Dense(2)(image)

    first, again, other = (create_state(Dense(), optimiser, 8, seed) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first.params["Dense_0"]["kernel"], other.params["Dense_0"]["kernel"])
    jax.tree.map(np.testing.assert_array_equal, first.params, first.ema_params)
    assert int(first.step) == 0 and first.step.dtype == jnp.int32
    assert parameter_count(first.params) == 3 * 2 + 2


@pytest.mark.parametrize(
    ("labels", "continued", "beyond"),
    [(Labels(), False, -1), (Labels(ignore=(7,)), False, 0), (Labels(), True, 1), (Labels(ignore=(7,)), True, 1)],
)
def test_beyond_the_edge_of_a_moved_mask_nothing_is_made_up(labels, continued, beyond):
    """Masks that are inside everywhere: outside of the image is background, unknown where data.ignore has values, and
    of crops what their edge is."""
    images, masks = pictures()
    how = Augmentation(shift=0.5, continued=continued)
    found = drawn(images, np.ones_like(masks), devices=ONE, seed=0, step=0, augmentation=how, labels=labels)["mask"]
    assert set(np.unique(found)) == {beyond, 1}
