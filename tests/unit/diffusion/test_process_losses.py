"""The inputs of the network in training, and the loss of its answer, with stand-ins whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_ddim
import pytest
from scipy.special import expit, xlog1py, xlogy
from stand_ins import T, batch, losses, rates, some_network, some_network_numpy

from ddim_jax.diffusion import DiffusionProcess, min_snr_weights


def output_in_numpy(mask_scale):
    mask, image, noise = (a.astype(np.float64) for a in batch())
    signal, rate = rates(T)
    noisy = signal * mask_scale * mask + rate * noise
    noisy /= np.sqrt(signal**2 * mask_scale**2 + rate**2)
    return some_network_numpy(2.0, noisy, image, T), mask, noise


def signal_to_noise(mask_scale):
    """The network's input, at T."""
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
    """The loss of one image of four pixels for which the network answers `logits`."""
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
