from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from segmenters import SIZE, MixesNoise, config, picture, red_segmenter, tiny_params, tiny_segmenter

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.checkpoints.manifest import manifest_digest
from ddim_jax.diffusion import DiffusionProcess
from ddim_jax.inference import Segmenter
from ddim_jax.preprocessing import image_id
from ddim_jax.runtime.errors import CheckpointError, InputError
from ddim_jax.sampling_options import SamplingOptions


def test_probability_mask_and_uncertainty_of_a_known_answer():
    image = picture(0, SIZE, SIZE)
    result = red_segmenter().segment(image)
    red = image[..., 0] / 255.0  # x_0 = 2 red - 1, clipped to [-1, 1] and moved to [0, 1]
    np.testing.assert_allclose(result.probability, red, atol=1e-6)
    np.testing.assert_array_equal(result.mask, red > 0.5)
    np.testing.assert_allclose(result.uncertainty, 0.0, atol=1e-6)
    assert (result.mask.dtype, result.probability.dtype, result.uncertainty.dtype) == (np.uint8, np.float32, np.float32)


def test_samples_are_not_clipped_but_calibrated_probabilities_are():
    image = picture(0, SIZE, SIZE)
    segmenter = red_segmenter(gain=3.0)
    x0 = 3.0 * (image[..., 0] / 127.5 - 1.0)
    np.testing.assert_allclose(segmenter.sample(image), np.stack([x0] * 3), atol=1e-5)
    np.testing.assert_allclose(segmenter.segment(image).probability, (np.clip(x0, -1, 1) + 1) / 2, atol=1e-6)
    clipped = red_segmenter(gain=3.0, clip_x0=2.0).sample(image)
    np.testing.assert_allclose(clipped, np.stack([np.clip(x0, -2, 2)] * 3), atol=1e-5)


def test_paper_protocol_stretches_each_image_and_has_its_own_threshold():
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[:, :, 0] = np.arange(SIZE) * 2 + 100  # red from 100 to 130 only
    result = red_segmenter().segment(image, protocol="paper")
    np.testing.assert_allclose(result.probability, np.tile(np.arange(SIZE) / 15.0, (SIZE, 1)), atol=1e-5)
    assert result.mask.sum() == 2 * SIZE  # 14/15 and 15/15
    assert red_segmenter().segment(image, protocol="paper", threshold=0.5).mask.sum() == 8 * SIZE


def test_doubt_is_that_of_the_probability_and_its_mask_at_the_working_size():
    def expected(image, threshold):
        red = image[..., 0] / 255.0
        mask = red > threshold
        return pytest.approx(1 - (2 * red[mask].sum() + 1) / (red.sum() + mask.sum() + 1), abs=1e-6)

    segmenter, image = red_segmenter(), picture(0, 40, 24)
    small = np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    for threshold in (0.5, 0.6):
        assert segmenter.segment(image, threshold=threshold).doubt == expected(small, threshold)
        assert segmenter.segment(image, threshold=threshold, size="native").doubt == expected(image, threshold)
    sure = np.where(small > 127, 255, 0).astype(np.uint8)
    assert segmenter.segment(sure).doubt == pytest.approx(0.0, abs=1e-6)
    # One vote is all or nothing, and still the image is as doubtful as it was.
    assert segmenter.segment(image, samples=1, ensemble="majority").doubt == expected(small, 0.5)
    assert segmenter.segment(image, samples=1, ensemble="staple").doubt == expected(small, 0.5)


def test_doubt_of_the_papers_mask_is_by_the_probability_that_is_not_stretched():
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[:, :, 0] = np.arange(SIZE) * 2 + 100
    red = image[..., 0] / 255.0
    hit = red[:, -2:].sum()  # the mask, as above
    expected = 1 - (2 * hit + 1) / (red.sum() + 2 * SIZE + 1)
    assert red_segmenter().segment(image, protocol="paper").doubt == pytest.approx(expected, abs=1e-6)


def test_results_have_the_size_of_the_image():
    image = picture(1, 40, 24)
    result = red_segmenter().segment(image)
    small = Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    probability = Image.fromarray(np.asarray(small)[..., 0] / np.float32(255)).resize(
        (24, 40), Image.Resampling.BILINEAR
    )
    np.testing.assert_allclose(result.probability, np.asarray(probability), atol=1e-5)
    assert result.mask.shape == result.uncertainty.shape == (40, 24)
    np.testing.assert_array_equal(result.mask, result.probability > 0.5)  # cut at the image's own size


def test_grey_images_are_repeated_to_three_channels():
    grey = picture(2)[..., 0]
    expected = red_segmenter().segment(np.repeat(grey[..., None], 3, axis=2))
    for image in (grey, grey[..., None]):
        np.testing.assert_array_equal(red_segmenter().segment(image).probability, expected.probability)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), r"dtype float32 and shape \[8, 8, 3\]; expected uint8"),
        (
            "x.jpg",
            r"the text or path 'x.jpg'; expected its pixels .* by ddim_jax.imageio.images.read_image, .*segment_files",
        ),
        (Path("x.jpg"), "the text or path 'x.jpg'; expected its pixels"),
        (np.zeros((8, 8, 4), np.uint8), r"shape \[8, 8, 4\]; expected \[H, W\]"),
        (np.zeros((2, 8, 8, 3), np.uint8), "give several images as a list"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \[0, 8, 3\]"),
        (np.zeros(8, np.uint8), r"shape \[8\]"),
    ],
)
def test_other_images_are_refused(image, message):
    with pytest.raises(InputError, match=message):
        red_segmenter().segment([picture(0), image])
    with pytest.raises(InputError, match=message):
        red_segmenter().sample(image)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samples_are_those_of_the_documented_keys(eta):
    """Each sample made on its own, at batch size 1, from the chain of keys in the class's docstring."""
    image = picture(4, SIZE, SIZE)
    segmenter = Segmenter(MixesNoise(), {}, config=config(eta=eta), step=1, checkpoint="x")
    process = DiffusionProcess.create(**config()["diffusion"])
    own = jax.random.fold_in(jax.random.key(5), image_id(image))
    scaled = jnp.asarray(image, jnp.float32)[None] / 127.5 - 1.0
    expected = []
    for i in range(3):
        start, steps = jax.random.split(jax.random.fold_in(own, i))
        noise = jax.random.normal(start, (SIZE, SIZE, 1))[None]
        options = SamplingOptions(2, eta=eta)
        x0 = process.sample(lambda _, *x: MixesNoise().apply({}, *x), {}, scaled, noise, options, key=steps)
        expected.append(x0[0, :, :, 0])
    actual = segmenter.sample(image, seed=5)
    assert actual.shape == (3, SIZE, SIZE) and actual.dtype == np.float32
    np.testing.assert_allclose(actual, np.stack(expected), rtol=1e-4, atol=1e-5)
    assert np.abs(actual[0] - actual[1]).max() > 0.01
    # A sample does not depend on how many others there are.
    np.testing.assert_allclose(segmenter.sample(image, samples=2, seed=5), actual[:2], rtol=1e-4, atol=1e-5)


def test_seed_and_pixels_decide_the_noise(tiny):
    image = picture(4, SIZE, SIZE)
    first = tiny.sample(image)
    np.testing.assert_array_equal(tiny.sample(image), first)
    assert np.abs(tiny.sample(image, seed=1) - first).max() > 0.01
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    assert np.abs(tiny.sample(changed) - first)[:, SIZE // 2 :].max() > 0.01  # far from the pixel: other noise


def test_few_images_of_a_list_wait_on_the_device(monkeypatch):
    log, start, fetch = [], Segmenter.start_batch, Segmenter.fetch
    monkeypatch.setattr(Segmenter, "start_batch", lambda *given: log.append(1) or start(*given))
    monkeypatch.setattr(Segmenter, "fetch", lambda *given: log.append(-1) or fetch(*given))
    results = red_segmenter().segment([picture(seed, 10 + seed, 12) for seed in range(7)], batch_size=1)
    assert np.cumsum(log).tolist() == [1, 2, 3, 4, 3, 4, 3, 4, 3, 4, 3, 2, 1, 0]
    assert [len(result.mask) for result in results] == list(range(10, 17))


def test_uncertainty_is_the_standard_deviation_of_the_sample_probabilities(tiny):
    image = picture(6, SIZE, SIZE)
    samples = tiny.sample(image).astype(np.float64)
    result = tiny.segment(image)
    probabilities = (np.clip(samples, -1, 1) + 1) / 2
    expected = np.sqrt(((probabilities - probabilities.mean(0)) ** 2).sum(0) / 3)
    np.testing.assert_allclose(result.uncertainty, expected, atol=1e-6)
    assert expected.max() > 0.01


def test_one_trace_serves_images_of_all_sizes():
    traces = []

    class Counting(nn.Module):
        size_multiple = 2

        @nn.compact
        def __call__(self, noisy_mask, image, t):
            traces.append(image.shape)
            return self.param("gain", nn.initializers.ones, ()) * image[..., :1]

    segmenter = Segmenter(Counting(), {"gain": np.float32(1)}, config=config(), step=1, checkpoint="x")
    segmenter.segment(picture(0))
    once = len(traces)
    assert set(traces) == {(3, SIZE, SIZE, 3)}  # all samples are one batch of the network
    images = [picture(seed, 10 + seed, 30) for seed in range(4)]
    segmenter.segment(images, batch_size=1, seed=3, threshold=0.2, protocol="paper")
    assert len(traces) == once


def test_trajectory_leads_from_noise_to_the_sample():
    image = picture(7, SIZE, SIZE)
    segmenter = red_segmenter(bias=0.5)
    timesteps, x_t, x0 = segmenter.trajectory(image, steps=4, seed=2)
    np.testing.assert_array_equal(timesteps, [99, 74, 49, 24, -1])
    assert x_t.shape == (5, SIZE, SIZE) and x0.shape == (4, SIZE, SIZE)
    red = image[..., 0] / 127.5 - 1.0
    np.testing.assert_allclose(x0, [red + 0.5 * t / 100 for t in (99, 74, 49, 24)], atol=1e-5)
    np.testing.assert_allclose(x_t[-1], 0.5 * x0[-1], atol=1e-6)  # the mask enters the process times mask_scale
    np.testing.assert_allclose(segmenter.sample(image, samples=1, steps=4, seed=2)[0], x0[-1], atol=1e-6)
    assert abs(x_t[0].std() - 1) < 0.15 and abs(x_t[0].mean()) < 0.2


def test_values_that_are_not_finite_are_refused():
    segmenter = red_segmenter(gain=np.nan)
    for act in (segmenter.sample, segmenter.segment, segmenter.trajectory):
        with pytest.raises(CheckpointError, match="run/checkpoints/7: sampling gave NaN or infinity"):
            act(picture(0))


def test_fingerprint_follows_weights_and_config_but_not_paths():
    first = red_segmenter()
    assert first.fingerprint() == red_segmenter(samples=9, protocol="paper").fingerprint()
    others = [red_segmenter(gain=1.5), red_segmenter(eta=0.5), red_segmenter(size=32), red_segmenter(clip_x0=1.0)]
    assert len({segmenter.fingerprint() for segmenter in [first, *others]}) == 5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with two checkpoints of the tiny network; the first has the better Dice."""
    run = tmp_path_factory.mktemp("run")
    store = CheckpointStore(run / "checkpoints")
    for step, dice in ((10, 0.9), (20, 0.8)):
        _, params = tiny_params(seed=step)
        metadata = {"config": config(), "package_version": "0"}
        store.save(step, state={"step": step}, ema_params=params, metadata=metadata, metrics={"dice": dice})
    return run


def test_load_chooses_the_step_and_gives_its_weights(run):
    best = Segmenter.load(run)
    assert (best.step, best.image_size, best.config) == (10, SIZE, config())
    assert best.checkpoint == str(run / "checkpoints" / "10")
    jax.tree.map(np.testing.assert_array_equal, best._params, tiny_segmenter(seed=10)._params)
    assert Segmenter.load(run / "checkpoints", step="latest").step == 20
    other = Segmenter.load(run / "checkpoints" / "20")
    jax.tree.map(np.testing.assert_array_equal, other._params, tiny_segmenter(seed=20)._params)
    assert best.fingerprint() == Segmenter.load(run / "checkpoints" / "10").fingerprint() != other.fingerprint()
    with pytest.raises(CheckpointError, match="step 20, not of step 10"):
        Segmenter.load(run / "checkpoints" / "20", step=10)
    pin = manifest_digest(run / "checkpoints" / "20")
    assert Segmenter.load(run, "latest", require_sha256=pin).fingerprint() == other.fingerprint()
    with pytest.raises(CheckpointError, match=f"10: the SHA-256 of its manifest is .*, not {pin} as required"):
        Segmenter.load(run, require_sha256=pin)


def test_load_refuses_weights_of_another_model(tmp_path):
    _, params = tiny_params()
    params["conv_in"]["kernel"] = params["conv_in"]["kernel"][..., :4]
    store = CheckpointStore(tmp_path)
    store.save(1, state={"step": 1}, ema_params=params, metadata={"config": config()})
    expected = r"conv_in.kernel: float32\[3, 3, 4, 4\] in the checkpoint, float32\[3, 3, 4, 8\] in this model"
    with pytest.raises(CheckpointError, match=expected):
        Segmenter.load(tmp_path)


def test_load_names_what_a_config_lacks(tmp_path):
    about = {"model": {}, "sample": None, "plugins": []}
    CheckpointStore(tmp_path).save(1, state={"step": 1}, ema_params={"w": np.zeros(1)}, metadata={"config": about})
    with pytest.raises(CheckpointError, match=r"metadata: .*(model|sample)"):
        Segmenter.load(tmp_path)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("data", {"image_size": 2**14}, r"data.image_size is 16384, for which one array of the attention of level 1"),
        ("model", {"overrides": {"base_channels": 4096, "channel_multipliers": [64, 64]}}, "make a network of some"),
    ],
)
def test_a_config_that_no_machine_could_run_is_refused_before_anything_is_built(section, values, message, tmp_path):
    about = config()
    about[section] |= values
    CheckpointStore(tmp_path).save(1, state={"step": 1}, ema_params={"w": np.zeros(1)}, metadata={"config": about})
    with pytest.raises(CheckpointError, match=f"1/metadata/metadata: .*{message}"):
        Segmenter.load(tmp_path)
