"""What the network is asked and how its answer is read, with stand-ins for the network whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_ddim
import pytest
from numpy_schedules import cosine_alpha_bars, zero_terminal
from scipy import stats
from scipy.special import expit, xlog1py, xlogy

from ddim_jax.diffusion import SAMPLERS, DiffusionProcess, min_snr_weights
from ddim_jax.io.errors import ConfigError

SHAPE = (3, 4, 5, 1)
T = np.array([0, 400, 999])


def batch(seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.choice([-1.0, 1.0], SHAPE).astype(np.float32)
    image = rng.uniform(-1.0, 1.0, (*SHAPE[:3], 3)).astype(np.float32)
    noise = rng.normal(size=SHAPE).astype(np.float32)
    return mask, image, noise


def some_network(params, noisy_mask, image, t):
    return jnp.tanh(params * noisy_mask + image[..., :1] - image[..., 2:] + t.reshape(-1, 1, 1, 1) / 500.0)


def some_network_numpy(params, noisy_mask, image, t):
    return np.tanh(params * noisy_mask + image[..., :1] - image[..., 2:] + np.reshape(t, (-1, 1, 1, 1)) / 500.0)


def rates(t):
    bars = numpy_ddim.alpha_bars()[t].reshape(-1, 1, 1, 1)
    return np.sqrt(bars), np.sqrt(1 - bars)


def losses(process, network=some_network, params=2.0):
    mask, image, noise = batch()
    return process.losses(network, params, jnp.asarray(mask), jnp.asarray(image), jnp.asarray(noise), jnp.asarray(T))


def output_in_numpy(mask_scale):
    mask, image, noise = (a.astype(np.float64) for a in batch())
    signal, rate = rates(T)
    noisy = signal * mask_scale * mask + rate * noise
    noisy /= np.sqrt(signal**2 * mask_scale**2 + rate**2)
    return some_network_numpy(2.0, noisy, image, T), mask, noise


def signal_to_noise(mask_scale):
    """Of the network's input, at T."""
    bars = numpy_ddim.alpha_bars()[T]
    return mask_scale**2 * bars / (1 - bars)


def squared_error_in_numpy(prediction, mask_scale):
    output, mask, noise = output_in_numpy(mask_scale)
    # The target for x0 is the mask at +-1, whatever the scale at which it enters the process.
    target = noise if prediction == "noise" else mask
    if prediction == "v":
        share = signal_to_noise(mask_scale) / (1 + signal_to_noise(mask_scale))  # alpha_bar of the unit-variance input
        share = share.reshape(-1, 1, 1, 1)
        target = np.sqrt(share) * noise - np.sqrt(1 - share) * mask
    return np.mean((output - target) ** 2, axis=(1, 2, 3))


@pytest.mark.parametrize("prediction", ["noise", "x0", "v"])
@pytest.mark.parametrize("mask_scale", [1.0, 0.1])
def test_mean_squared_error_of_each_example(prediction, mask_scale):
    result = losses(DiffusionProcess.create(prediction=prediction, mask_scale=mask_scale))
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, squared_error_in_numpy(prediction, mask_scale), rtol=1e-5)


def test_v_with_the_plain_mask_is_the_usual_one():
    """Salimans and Ho: v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0."""
    mask, _, noise = batch()
    signal, rate = rates(T)
    output = output_in_numpy(1.0)[0]
    expected = np.mean((output - (signal * noise - rate * mask)) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(losses(DiffusionProcess.create(prediction="v")), expected, rtol=1e-5)


@pytest.mark.parametrize("mask_scale", [1.0, 0.1])
@pytest.mark.parametrize("t", [0, 300, 999])
def test_the_target_of_v_has_unit_variance(mask_scale, t):
    rng = np.random.default_rng(t)
    mask = rng.choice([-1.0, 1.0], (1, 256, 256, 1)).astype(np.float32)
    noise = rng.normal(size=mask.shape).astype(np.float32)
    process = DiffusionProcess.create(prediction="v", mask_scale=mask_scale)
    image = jnp.zeros((1, 256, 256, 3))
    loss = process.losses(lambda *given: jnp.zeros_like(given[1]), None, mask, image, noise, jnp.array([t]))
    np.testing.assert_allclose(loss, 1.0, rtol=0.03)


def test_min_snr_weights_by_hand():
    snr = np.array([20.0, 5.0, 0.25])
    np.testing.assert_allclose(min_snr_weights(snr, "noise"), [0.25, 1.0, 1.0])  # 5/20
    np.testing.assert_allclose(min_snr_weights(snr, "x0"), [5.0, 5.0, 0.25])
    np.testing.assert_allclose(min_snr_weights(snr, "v"), [5 / 21, 5 / 6, 0.2])  # .25/1.25
    np.testing.assert_array_equal(min_snr_weights(np.array([0.0]), "v"), [0.0])


@pytest.mark.parametrize("prediction", ["noise", "x0", "v"])
@pytest.mark.parametrize("mask_scale", [1.0, 0.1])
def test_min_snr_multiplies_the_loss_of_each_example(prediction, mask_scale):
    result = losses(DiffusionProcess.create(prediction=prediction, mask_scale=mask_scale, loss_weight="min_snr"))
    snr = signal_to_noise(mask_scale)
    weight = np.minimum(snr, 5.0) / {"noise": snr, "x0": 1.0, "v": snr + 1.0}[prediction]
    assert weight.min() < 0.5 * weight.max()
    np.testing.assert_allclose(result, weight * squared_error_in_numpy(prediction, mask_scale), rtol=1e-4)


def test_min_snr_weights_the_overlap_loss_as_that_of_x0():
    plain, weighted = (
        losses(DiffusionProcess.create(prediction="x0", loss="bce_dice", loss_weight=weight))
        for weight in ("plain", "min_snr")
    )
    np.testing.assert_allclose(weighted / plain, np.minimum(signal_to_noise(1.0), 5.0), rtol=1e-5)


@pytest.mark.parametrize("mask_scale", [1.0, 0.2])
def test_with_min_snr_all_predictions_make_the_same_loss(mask_scale):
    """The same wrong mask and the noise that follows, told in three ways."""
    mask, image, noise = batch()
    t = np.array([5, 200, 900])
    bars = numpy_ddim.alpha_bars()[t].reshape(-1, 1, 1, 1)
    signal, rate = mask_scale * np.sqrt(bars), np.sqrt(1 - bars)
    wrong = 0.7 * mask + 0.2
    implied = (signal * mask + rate * noise - signal * wrong) / rate
    norm = np.sqrt(signal**2 + rate**2)
    found = {}
    for prediction, answer in {"noise": implied, "x0": wrong, "v": (signal * implied - rate * wrong) / norm}.items():
        process = DiffusionProcess.create(prediction=prediction, mask_scale=mask_scale, loss_weight="min_snr")
        given = (jnp.asarray(a, jnp.float32) for a in (mask, image, noise))
        answer = jnp.asarray(answer, jnp.float32)
        found[prediction] = process.losses(lambda *_, answer=answer: answer, None, *given, jnp.asarray(t))
    np.testing.assert_allclose(found["noise"], found["x0"], rtol=1e-3)
    np.testing.assert_allclose(found["v"], found["x0"], rtol=1e-3)


@pytest.mark.parametrize("mask_scale", [1.0, 0.1])
def test_cross_entropy_plus_dice_of_each_example(mask_scale):
    result = losses(DiffusionProcess.create(prediction="x0", loss="bce_dice", mask_scale=mask_scale))
    logits, mask, _ = output_in_numpy(mask_scale)
    truth, p = (mask + 1) / 2, expit(logits)
    entropy = -np.mean(xlogy(truth, p) + xlog1py(1 - truth, -p), axis=(1, 2, 3))
    dice = (2 * np.sum(p * truth, axis=(1, 2, 3)) + 1) / (np.sum(p + truth, axis=(1, 2, 3)) + 1)
    np.testing.assert_allclose(result, entropy + 1 - dice, rtol=1e-5)


def loss_of_logits(logits, mask):
    """The loss of one picture of four pixels for which the network answers `logits`."""
    process = DiffusionProcess.create(prediction="x0", loss="bce_dice")
    shape = (1, 2, 2, 1)
    logits, mask = (jnp.asarray(a, jnp.float32).reshape(shape) for a in (logits, mask))

    def loss(logits):
        image, zero = jnp.zeros((1, 2, 2, 3)), jnp.zeros(1, jnp.int32)
        return process.losses(lambda *_: logits, None, mask, image, jnp.zeros(shape), zero)[0]

    return jax.value_and_grad(loss)(logits)


def test_cross_entropy_plus_dice_by_hand():
    # p = 1/2 everywhere, two of four pixels in the mask: Dice (2 + 1) / (2 + 2 + 1) = 0.6
    value, _ = loss_of_logits([0, 0, 0, 0], [1, 1, -1, -1])
    np.testing.assert_allclose(value, np.log(2) + 0.4, rtol=1e-6)


@pytest.mark.parametrize(
    ("logits", "mask", "expected"),
    [
        ([200, 200, -200, -200], [1, 1, -1, -1], 0.0),
        ([-200, -200, -200, -200], [-1, -1, -1, -1], 0.0),  # empty met by empty: Dice 1
        ([200, 200, -200, -200], [-1, -1, 1, 1], 200.0 + 1.0 - 1.0 / 5.0),
        ([200, 200, 200, 200], [-1, -1, -1, -1], 200.0 + 1.0 - 1.0 / 5.0),
    ],
)
def test_cross_entropy_plus_dice_of_sure_answers_is_finite(logits, mask, expected):
    value, gradient = loss_of_logits(logits, mask)
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)
    assert np.all(np.isfinite(gradient))


def test_losses_are_float32_for_a_bfloat16_network():
    def network(*inputs):
        return some_network(*inputs).astype(jnp.bfloat16)

    for fields in ({}, {"prediction": "x0", "loss": "bce_dice"}):
        process = DiffusionProcess.create(**fields)
        result = losses(process, network)
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, losses(process), rtol=2e-2)


def test_losses_hand_image_parameters_and_timesteps_through():
    mask, image, noise = batch()
    seen = []
    process = DiffusionProcess.create()
    process.losses(lambda *given: seen.append(given) or given[1], {"w": 1}, mask, image, noise, jnp.asarray(T))
    ((params, noisy, given_image, t),) = seen
    signal, rate = rates(T)
    assert params == {"w": 1}
    np.testing.assert_allclose(noisy, signal * mask + rate * noise, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(given_image, image)
    np.testing.assert_array_equal(t, T)


@pytest.mark.parametrize("mask_scale", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("t", [0, 10, 300, 999])
def test_the_network_sees_unit_variance(mask_scale, t):
    rng = np.random.default_rng(t)
    mask = rng.choice([-1.0, 1.0], (1, 256, 256, 1)).astype(np.float32)
    noise = rng.normal(size=mask.shape).astype(np.float32)
    seen = []
    process = DiffusionProcess.create(mask_scale=mask_scale)
    image = jnp.zeros((1, 256, 256, 3))
    process.losses(lambda *given: seen.append(given[1]) or given[1], None, mask, image, noise, jnp.array([t]))
    np.testing.assert_allclose(np.var(seen[0]), 1.0, rtol=0.03)


@pytest.mark.parametrize("mask_scale", [1.0, 0.1])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("fields", [{"prediction": name} for name in ("noise", "x0", "v")], ids=["noise", "x0", "v"])
def test_one_clean_mask_is_recovered_in_its_own_units(fields, mask_scale, eta):
    """The exact answer for data that are one mask, from the rescaled input: sampler and scaling have to agree."""
    mask, image, noise = batch()
    bars = jnp.asarray(numpy_ddim.alpha_bars(), jnp.float32)

    def exact(params, network_input, image, t):
        if fields["prediction"] == "x0":
            return jnp.asarray(mask)
        bar = bars[t].reshape(-1, 1, 1, 1)
        norm = jnp.sqrt(bar * mask_scale**2 + 1 - bar)
        noise = (network_input * norm - jnp.sqrt(bar) * mask_scale * mask) / jnp.sqrt(1 - bar)
        if fields["prediction"] == "v":
            return (jnp.sqrt(bar) * mask_scale * noise - jnp.sqrt(1 - bar) * mask) / norm
        return noise

    process = DiffusionProcess.create(mask_scale=mask_scale, **fields)
    result, trajectory = process.sample(
        exact, None, jnp.asarray(image), jnp.asarray(noise), 5, eta=eta, key=jax.random.key(0), return_trajectory=True
    )
    np.testing.assert_allclose(result, mask, atol=5e-3)
    np.testing.assert_allclose(trajectory.x0[-1], mask, atol=5e-3)
    np.testing.assert_allclose(trajectory.x_t[-1], mask_scale * mask, atol=5e-4)
    np.testing.assert_array_equal(trajectory.x_t[0], noise)


@pytest.mark.parametrize("loss", ["mse", "bce_dice"])
@pytest.mark.parametrize("clip", [None, 0.6])
def test_sampling_equals_the_independent_version(loss, clip):
    scale = 0.2
    process = DiffusionProcess.create(prediction="x0", loss=loss, mask_scale=scale)
    _, image, noise = batch()
    bars = numpy_ddim.alpha_bars()

    def denoise(x, t):
        output = some_network_numpy(2.0, x / np.sqrt(bars[t] * scale**2 + 1 - bars[t]), image.astype(np.float64), t)
        return scale * (2 * expit(output) - 1 if loss == "bce_dice" else output)

    bound = None if clip is None else clip * scale  # the bound is in units of the mask
    _, x0 = numpy_ddim.sample(denoise, noise, 4, prediction="x0", clip=bound)
    result = process.sample(some_network, 2.0, jnp.asarray(image), jnp.asarray(noise), 4, clip_x0=clip)
    np.testing.assert_allclose(result, x0[-1] / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("mask_scale", [1.0, 0.2])
def test_v_and_x0_take_the_same_steps_down_to_one_from_pure_noise(mask_scale, sampler):
    """One underlying estimate of the mask, told as x0 and as v, with a schedule that ends at alpha_bar = 0."""
    bars = jnp.asarray(zero_terminal(cosine_alpha_bars(1000)), jnp.float32)
    _, image, noise = batch()

    def mask_of(params, network_input, image, t):
        return jnp.tanh(network_input + image[..., :1])

    def v_of(params, network_input, image, t):
        bar = bars[t].reshape(-1, 1, 1, 1)
        signal, rate = mask_scale * jnp.sqrt(bar), jnp.sqrt(1 - bar)
        signal, rate = (a / jnp.sqrt(mask_scale**2 * bar + 1 - bar) for a in (signal, rate))
        mask = mask_of(params, network_input, image, t)
        return signal * (network_input - signal * mask) / rate - rate * mask

    fields = {"mask_scale": mask_scale, "schedule": "cosine", "zero_terminal_snr": True}
    for steps in (1, 2, 5):
        results = [
            DiffusionProcess.create(prediction=prediction, **fields).sample(
                network, None, jnp.asarray(image), jnp.asarray(noise), steps, sampler=sampler, key=jax.random.key(1)
            )
            for prediction, network in (("x0", mask_of), ("v", v_of))
        ]
        assert np.isfinite(results[0]).all()
        np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-4)
        if steps == 1:
            np.testing.assert_allclose(results[0], np.tanh(noise + image[..., :1]), rtol=1e-5)


@pytest.mark.parametrize("clip", [0.0, -1.0])
def test_a_bound_that_is_not_positive_is_refused_in_units_of_the_mask(clip):
    _, image, noise = batch()
    process = DiffusionProcess.create(prediction="x0", mask_scale=0.1)
    with pytest.raises(ConfigError, match=f"sample.clip_x0 is {clip}; expected None"):
        process.sample(some_network, 2.0, image, jnp.asarray(noise), 2, clip_x0=clip)


def test_clipping_is_in_units_of_the_mask():
    process = DiffusionProcess.create(prediction="x0", mask_scale=0.1)
    _, image, noise = batch()

    def sure(params, noisy_mask, image, t):
        return jnp.full(noisy_mask.shape, 3.0)

    np.testing.assert_allclose(process.sample(sure, None, image, jnp.asarray(noise), 2), 3.0, rtol=1e-6)
    np.testing.assert_allclose(process.sample(sure, None, image, jnp.asarray(noise), 2, clip_x0=1.0), 1.0, rtol=1e-6)


def test_uniform_timesteps():
    t = DiffusionProcess.create().draw_timesteps(jax.random.key(0), (100_000,))
    assert t.dtype == jnp.int32
    np.testing.assert_allclose(np.mean(t), 499.5, atol=3.0)  # one standard error is 0.9
    assert np.min(t) == 0 and np.max(t) == 999


def test_power_two_prefers_large_timesteps():
    t = DiffusionProcess.create(timestep_power=2.0).draw_timesteps(jax.random.key(1), (100_000,))
    np.testing.assert_allclose(np.mean(np.asarray(t) < 500), 0.25, atol=0.005)  # one standard error is 0.0014
    np.testing.assert_allclose(np.mean(t), 2 / 3 * 1000 - 0.5, atol=3.0)


@pytest.mark.parametrize(("power", "sixteenths"), [(1.0, [4, 4, 4, 4]), (2.0, [1, 3, 5, 7])])
def test_the_density_of_timesteps_by_hand(power, sixteenths):
    """P(t = k) = ((k + 1) / T)^power - (k / T)^power, here with T = 4; chi-squared at one in a thousand."""
    process = DiffusionProcess.create(num_train_timesteps=4, timestep_power=power)
    t = process.draw_timesteps(jax.random.key(2), (200, 100))
    counts = np.bincount(np.ravel(t), minlength=4)
    assert t.shape == (200, 100) and len(counts) == 4
    assert stats.chisquare(counts, 20_000 * np.array(sixteenths) / 16).pvalue > 1e-3


def test_create_takes_the_fields_of_the_config():
    process = DiffusionProcess.create(num_train_timesteps=3, beta_start=0.1, beta_end=0.3, prediction="x0")
    np.testing.assert_allclose(process.schedule.betas, [0.1, 0.2, 0.3])
    assert (process.prediction, process.loss, process.mask_scale, process.timestep_power) == ("x0", "mse", 1.0, 1.0)
    process = DiffusionProcess.create(prediction="v", schedule="cosine", zero_terminal_snr=True, loss_weight="min_snr")
    np.testing.assert_allclose(process.schedule.alpha_bars, zero_terminal(cosine_alpha_bars(1000)), rtol=1e-9)
    assert (process.prediction, process.loss_weight) == ("v", "min_snr")


def test_a_config_from_before_a_field_was_there_means_the_same():
    """The `diffusion` section as checkpoints of then hold it, beside the complete one."""
    old = {
        "prediction": "x0",
        "loss": "bce_dice",
        "mask_scale": 0.1,
        "timestep_power": 2.0,
        "num_train_timesteps": 1000,
        "beta_start": 1e-4,
        "beta_end": 0.02,
    }
    new = old | {"schedule": "linear", "zero_terminal_snr": False, "loss_weight": "plain"}
    then, now = (DiffusionProcess.create(**fields) for fields in (old, new))
    np.testing.assert_array_equal(then.schedule.alpha_bars, now.schedule.alpha_bars)
    np.testing.assert_allclose(then.schedule.alpha_bars, numpy_ddim.alpha_bars(), rtol=1e-12)
    np.testing.assert_array_equal(losses(then), losses(now))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prediction": "eps"}, "diffusion.prediction is 'eps'; expected one of noise, x0, v"),
        (
            {"prediction": "noise", "zero_terminal_snr": True},
            "diffusion.prediction is 'noise' and diffusion.zero_terminal_snr is true.*prediction 'x0' or 'v'",
        ),
        ({"loss_weight": "p2"}, "diffusion.loss_weight is 'p2'; expected one of plain, min_snr"),
        ({"schedule": "sigmoid"}, "diffusion.schedule is 'sigmoid'; expected one of linear, cosine"),
        ({"loss": "bce_dice", "prediction": "v"}, "diffusion.loss 'bce_dice' .* needs prediction 'x0', not 'v'"),
        ({"loss": "mae"}, "diffusion.loss is 'mae'; expected one of mse, bce_dice"),
        ({"loss": "bce_dice"}, "diffusion.loss 'bce_dice' .* needs prediction 'x0', not 'noise'"),
        ({"mask_scale": 0.0}, "diffusion.mask_scale is 0.0"),
        ({"mask_scale": 1.5}, "diffusion.mask_scale is 1.5"),
        ({"timestep_power": 0.5}, "diffusion.timestep_power is 0.5"),
        ({"num_train_timesteps": 0}, "diffusion.num_train_timesteps is 0"),
        ({"beta_end": 2.0}, "diffusion.beta_end is 2.0"),
    ],
)
def test_impossible_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        DiffusionProcess.create(**fields)
