"""Several checkpoints as one: their samples pooled, what each takes of the options, what is refused."""

import json

import jax
import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import ct_slice
from PIL import Image
from segmenters import ReadsRed, config, loaded_network, picture, tiny_params

import ddim_jax
from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.cli.sample import parse_arguments
from ddim_jax.cli.sample import run as sample
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.evaluation.checkpoint import open_split
from ddim_jax.inference import Ensemble, Segmenter, load_checkpoints, segment_files
from ddim_jax.inference.packing import pack
from ddim_jax.models import create_model, example_inputs
from ddim_jax.runtime.errors import InputError


def reads_red(gain=1.0, bias=0.0, **changes):
    about = config()
    about["data"] |= changes
    params = {"gain": np.float32(gain), "bias": np.float32(bias)}
    return loaded_network(ReadsRed(), params, about)._replace(checkpoint=f"run{gain}/checkpoints/7", weights=f"w{gain}")


def plain_unet():
    """A network in one pass with drawn weights."""
    about = config(steps=1, samples=1, flips=False, sampler=None)
    overrides = {"base_channels": 8, "channel_multipliers": [1, 1], "norm_groups": 4, "stem_stride": 1}
    about["model"] = {"name": "unet", "preset": "small", "overrides": overrides}
    about["diffusion"] = dict.fromkeys(about["diffusion"])
    model = create_model("unet", preset="small", **overrides)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model, 16))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0.0, 0.5, leaf.shape).astype(np.float32), shapes)
    return loaded_network(model, params, about)._replace(checkpoint="unet/checkpoints/7", weights="unet")


@pytest.fixture(scope="module")
def pair():
    return Ensemble([reads_red(), reads_red(0.25, -0.5)])


def test_its_samples_are_those_of_each_and_the_mask_is_of_all(pair):
    image = picture(0)
    alone = [Segmenter(**network._asdict()) for network in (reads_red(), reads_red(0.25, -0.5))]
    expected = np.concatenate([one.sample(image, samples=2, seed=5) for one in alone])
    np.testing.assert_array_equal(pair.sample(image, samples=2, seed=5), expected)

    result = pair.segment(image, samples=2, seed=5)
    each = [one.segment(image, samples=2, seed=5).probability for one in alone]
    np.testing.assert_allclose(result.probability, np.mean(each, axis=0), atol=1e-6)
    np.testing.assert_array_equal(result.mask, result.probability > 0.5)
    assert np.abs(each[0] - each[1]).max() > 0.2  # they say different things


def test_tiles_and_native_sizes_are_pooled_too(pair):
    image = picture(1, 16, 20)
    for size in ("native", "tiles"):
        both = pair.sample(image, samples=1, size=size)
        alone = [Segmenter(**network._asdict()) for network in (reads_red(), reads_red(0.25, -0.5))]
        np.testing.assert_array_equal(both, np.concatenate([one.sample(image, samples=1, size=size) for one in alone]))


def test_a_network_in_one_pass_keeps_its_own_steps():
    unet = plain_unet()
    mixed = Ensemble([reads_red(), unet])
    image = picture(2, 16, 16)
    samples = mixed.sample(image, steps=7, samples=2)
    assert samples.shape == (4, 16, 16)
    np.testing.assert_allclose(samples[2], Segmenter(**unet._asdict()).sample(image)[0], atol=1e-6)
    assert mixed.evaluations(mixed.options(steps=7, samples=2)) == 7 * 2 + 2
    turned = Ensemble([unet, reads_red()])
    assert turned.sample(image).shape == (2, 16, 16)
    with pytest.raises(InputError, match="works in one pass"):
        turned.trajectory(image)


def test_options_that_a_checkpoint_cannot_take_are_refused_with_its_name():
    for networks in ([reads_red(flips=False), plain_unet()], [plain_unet(), reads_red(flips=False)]):
        mixed = Ensemble(networks)
        with pytest.raises(InputError, match=r"^run1.0/checkpoints/7: flips is True and data.flips is False"):
            mixed.options(flips=True)
    with pytest.raises(InputError, match=r"^unet/checkpoints/7: steps is 5; expected 1: the network works in one pass"):
        mixed.options(steps=5)


def test_an_eta_that_the_sampler_does_not_use_is_each_checkpoints_own():
    noisy = reads_red(0.25)
    noisy.config["sample"]["eta"] = 0.5
    pair = Ensemble([reads_red(), noisy])
    assert pair.sample(picture(2), sampler="ddpm").shape[0] == 6
    assert pair.options(sampler="ddim").eta == 0  # which both then take


def test_the_reverse_process_is_that_of_the_first(pair):
    image = picture(3)
    expected = Segmenter(**reads_red()._asdict()).trajectory(image)
    for got, want in zip(pair.trajectory(image), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_its_fingerprint_is_of_all_and_it_has_no_calibration(pair):
    turned = Ensemble([reads_red(0.25, -0.5), reads_red()])
    prints = {pair.fingerprint(), turned.fingerprint(), Segmenter(**reads_red()._asdict()).fingerprint()}
    assert len(prints) == 3
    assert pair.checkpoints == ("run1.0/checkpoints/7", "run0.25/checkpoints/7")
    packed = Ensemble([reads_red()._replace(calibration={"coverage": 0.9}), reads_red(0.25)])
    for one in (pair, packed):
        assert one.calibration()[0] is None and one.reference()[0] is None
        assert one.segment(picture(0)).bounds == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_size": 32}, "data.image_size is 16 in run1.0/checkpoints/7 and 32 in run1.0/checkpoints/7"),
        ({"labels": {"lung": 1, "heart": 2}}, "classes is"),
        ({"invert": True}, "data.invert is"),
    ],
)
def test_networks_that_see_other_pictures_or_classes_are_not_fused(changes, said):
    with pytest.raises(InputError, match="cannot be fused") as error:
        Ensemble([reads_red(), reads_red(**changes)])
    assert said in str(error.value)


@pytest.fixture
def runs(tmp_path):
    """Two runs of a tiny network with other weights."""
    folders = []
    for seed in (0, 1):
        _, params = tiny_params(seed)
        folders.append(tmp_path / f"run{seed}")
        metadata = {"config": config(), "package_version": "0", "data": {"train_ids_sha256": f"digest {seed}"}}
        CheckpointStore(folders[-1] / "checkpoints").save(5, state={"step": 5}, ema_params=params, metadata=metadata)
    return [str(folder) for folder in folders]


def test_sample_writes_the_masks_of_both_and_says_which_they_were(runs, tmp_path):
    Image.fromarray(picture(4)).save(tmp_path / "x.png")
    given = ["--ckpt", *runs, "--input", str(tmp_path / "x.png"), "--output", str(tmp_path / "out")]
    assert sample(parse_arguments(None, given)) == 0
    mask = np.asarray(Image.open(tmp_path / "out" / "x_mask.png"))
    both = load_checkpoints(runs)
    assert isinstance(both, Ensemble) and both.fingerprint() == Ensemble.load(runs, "latest").fingerprint()
    assert both.fingerprint() == Ensemble.from_pretrained(runs).fingerprint()
    np.testing.assert_array_equal(mask, both.segment(picture(4)).mask * 255)
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert all(run in settings["checkpoint"] for run in runs)
    assert settings["weights"] == both.fingerprint()


def test_dicom_results_name_each_checkpoint_and_its_step(tmp_path):
    first = reads_red()._replace(checkpoint="/secret/a/checkpoints/100", step=100)
    second = reads_red(0.25)._replace(checkpoint="/secret/b + c/checkpoints/200", step=200)
    packed = reads_red(0.5)._replace(checkpoint="/secret/packed.ddim", step=300)
    ct_slice(tmp_path / "x.dcm", np.full((16, 16), 900))
    kinds = ("dicom-seg", "dicom-overlay", "nifti")
    given = {"save": kinds, "segments": ("Lung",), "window": (0.0, 100.0)}
    segment_files(Ensemble([first, second, packed]), tmp_path / "x.dcm", tmp_path / "out", **given)
    names = "a step 100 + b + c step 200 + packed step 300"
    for kind in kinds[:2]:
        header = pydicom.dcmread(tmp_path / "out" / f"x_{kind}.dcm")
        assert f" with the checkpoint {names} (SHA-256 " in header.DerivationDescription
        assert "secret" not in str(header)
    parts = pydicom.dcmread(tmp_path / "out/x_dicom-seg.dcm").SegmentSequence
    assert f"checkpoint={names}," in parts[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    told = nibabel.load(tmp_path / "out/x_nifti.nii.gz").header["descrip"].item().decode()
    assert told == f"ddim_jax {ddim_jax.__version__} 3 checkpoints, NOT FOR CLINICAL USE"


def test_what_an_ensemble_has_no_place_for_is_refused(runs, tmp_path):
    with pytest.raises(InputError, match="have no folder of their own; give --output"):
        evaluate_checkpoint(runs)
    with pytest.raises(InputError, match=r"calibrate 2 checkpoints together; expected one, .*: of a fold with --split"):
        evaluate_checkpoint(runs, output_dir=tmp_path / "out", calibrate=0.9)
    for load in (Ensemble.load, Ensemble.from_pretrained):
        with pytest.raises(InputError, match=r"run0'; expected several checkpoints, Segmenter[.]load takes one"):
            load(runs[0])
    with pytest.raises(InputError, match="a SHA-256 is required of one checkpoint; 2 are given"):
        load_checkpoints(runs, require_sha256="0" * 64)


@pytest.mark.parametrize("load", [load_checkpoints, Ensemble.load, Ensemble.from_pretrained, Ensemble])
def test_none_is_no_ensemble(load):
    with pytest.raises(InputError, match="no checkpoint is given; expected"):
        load([])


def test_the_same_averaged_weights_twice_are_refused(runs, tmp_path):
    packed, again = tmp_path / "packed.safetensors", tmp_path / "again"
    pack(runs[0], packed)
    _, params = tiny_params(0)
    metadata = {"config": config(), "package_version": "0"}
    CheckpointStore(again / "checkpoints").save(9, state={"step": 9}, ema_params=params, metadata=metadata)
    for other in (packed, again):
        with pytest.raises(InputError, match=rf"run0/checkpoints/5, \S+{other.name}\S* have the same weights"):
            Ensemble.load([runs[0], runs[1], other])


def test_networks_of_other_pictures_are_told(monkeypatch):
    said = []
    monkeypatch.setattr("ddim_jax.inference.ensemble.logging.warning", lambda text, *values: said.append(text % values))

    def warnings(*given):
        """Joins networks of such data and digests of training images; returns the warnings."""
        said.clear()
        Ensemble(
            [
                reads_red(1.0 + number, **data)._replace(training_data=digest and {"train_ids_sha256": digest})
                for number, (data, digest) in enumerate(given)
            ]
        )
        return said

    folds = [{"folds": 3, "fold": fold, "root": "/a/polyps"} for fold in (0, 1)]
    assert not warnings(({"root": "/a"}, "x"), ({"root": "/moved"}, "x"))
    assert not warnings((folds[0], "x"), (folds[1] | {"root": "/b/polyps/"}, "y"))
    assert not warnings(({}, None), ({"root": "/a"}, "y"))
    assert len(warnings((folds[0], "x"), ({"root": "lungs"}, "y"))) == 1
    assert "different images" in said[0] and "/a/polyps" in said[0] and "lungs" in said[0]
    assert len(warnings((folds[0], "x"), (folds[1] | {"root": "/a/lungs"}, "y"))) == 1


def test_pictures_that_any_of_them_was_trained_on_are_not_scored(monkeypatch, runs):
    monkeypatch.setattr("ddim_jax.evaluation.checkpoint.load_dataset", lambda **about: about["split"])
    monkeypatch.setattr("ddim_jax.evaluation.checkpoint.ids_digest", lambda split: "digest 0")
    monkeypatch.setattr("ddim_jax.evaluation.checkpoint.configured", lambda data: {})
    assert open_split(load_checkpoints(runs[:1]), "val") == ("val", "val")
    with pytest.raises(InputError, match=r"not the one .*run1.* was trained on"):
        open_split(load_checkpoints(runs), "val")
