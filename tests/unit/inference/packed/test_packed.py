"""Packed weights: one file in place of a run, and packaged weights by name."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy
from packed_parts import TERMS, flipped, parts, put
from segmenters import SIZE, config, picture, tiny_params
from tiny_runs import assert_same_bits

from ddim_jax import pretrained
from ddim_jax.checkpoints import packed, weights
from ddim_jax.cli import doctor
from ddim_jax.cli import pack as command
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.inference import Segmenter
from ddim_jax.inference.packing import pack
from ddim_jax.inference.writing import writing_context
from ddim_jax.models import create_model
from ddim_jax.runtime.errors import CheckpointError, InputError
from ddim_jax.training.state import load_weights


def test_a_file_segments_as_its_run_does_to_the_bit(run, file):
    of_run, of_file = Segmenter.load(run), Segmenter.from_pretrained(file)
    assert_same_bits(of_file._params, of_run._params)
    assert of_file.step == 10
    assert of_file.image_size == SIZE
    a, b = (one.segment(picture(1), seed=3) for one in (of_run, of_file))
    for name in ("mask", "probability", "uncertainty"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
    assert of_file.training_data == {
        "train_ids_sha256": "ab",
        "train_examples": 3,
        "note": "twelve phantoms",
        "terms": TERMS,
    }
    assert of_file.checkpoint == str(file)
    assert len(of_file.fingerprint()) == 64


def test_any_reader_of_safetensors_sees_weights_and_metadata_without_paths(run, file):
    tensors = safetensors.numpy.load_file(file)
    kernel = tiny_params(seed=10)[1]["conv_in"]["kernel"]
    assert tensors["conv_in.kernel"].tobytes() == kernel.tobytes()
    about = parts(file)[0]["__metadata__"]
    assert {name: about[name] for name in ("format", "format_version", "step", "note", "terms")} == {
        "format": "ddim_jax weights",
        "format_version": "1",
        "step": "10",
        "note": "twelve phantoms",
        "terms": TERMS,
    }
    saved = json.loads(about["config"])
    assert (saved["data"]["root"], saved["data"]["cache_dir"], saved["train"]["init_from"]) == ("", None, None)
    assert saved["sample"] == config()["sample"]
    assert b"somebody" not in file.read_bytes()


def test_the_same_run_gives_the_same_bytes_and_another_note_the_same_weights(run, file, tmp_path):
    again = pack(run, tmp_path / "again.safetensors", note="twelve phantoms", terms=TERMS)
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    other = pack(file, tmp_path / "other.safetensors", note="others")
    assert other.metadata["data"]["terms"] == TERMS  # which go on with the weights
    assert other.file_sha256 != again.file_sha256
    assert other.digest == again.digest == weights.open_weights(file).digest
    latest = pack(run, tmp_path / "latest.safetensors", step="latest")
    assert latest.step == 20
    assert latest.digest != other.digest


def test_what_the_class_is_goes_with_the_weights_and_is_checked(file, tmp_path):
    named = tmp_path / "named.safetensors"
    assert pack(file, named, segments=["Lung"]).metadata["config"]["data"]["segments"] == ["foreground=Lung"]
    assert pack(named, tmp_path / "again.safetensors").metadata["config"]["data"]["segments"] == ["foreground=Lung"]
    segmenter = Segmenter.from_pretrained(named)
    assert writing_context(segmenter, segmenter.options()).segments == {"foreground": "Lung"}
    assert segmenter.fingerprint() == Segmenter.from_pretrained(file).fingerprint()
    with pytest.raises(InputError, match="'Lnug', which is no name of a SNOMED CT concept in DICOM; did you mean Lung"):
        pack(file, tmp_path / "wrong.safetensors", segments=["Lnug"])
    with pytest.raises(InputError, match="segments has 'lung=Lung'; for one class without a name write --"):
        pack(file, tmp_path / "wrong.safetensors", segments=["lung=Lung"])
    assert not (tmp_path / "wrong.safetensors").exists()


def test_half_precision_is_half_the_size_and_rounds_each_weight_once(run, file, tmp_path):
    half = tmp_path / "half.safetensors"
    assert pack(run, half, dtype="float16").dtype == "float16"
    assert len(parts(half)[1]) * 2 == len(parts(file)[1])
    exact, rounded = (jax.tree.leaves(weights.open_weights(path).params) for path in (run, half))
    for a, b in zip(exact, rounded, strict=True):
        assert b.dtype == np.float32
        # Eleven bits: half a unit in the last place; below 2^-14 the spacing stays 2^-24.
        assert np.all(np.abs(a - b) <= np.maximum(np.abs(a) * 2.0**-11, 2.0**-25))


def test_weights_that_half_precision_cannot_hold_are_refused(tmp_path):
    params = tiny_params(seed=10)[1]
    params["conv_in"]["bias"][0] = 1e6
    given = {"step": 1, "metadata": {"config": config()}, "note": "", "terms": ""}
    with pytest.raises(CheckpointError, match=r"NaN or infinite weights in conv_in.bias; .*take float32"):
        packed.write_packed(tmp_path / "a.safetensors", params, dtype="float16", **given)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over_and_the_name_has_to_say_what_it_is(run, file):
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"mine\.safetensors: is there already and is not written over"):
        pack(run, file)
    with pytest.raises(InputError, match=r"mine\.pt: packed weights end in \.safetensors"):
        pack(run, file.with_suffix(".pt"))
    assert file.read_bytes() == before


def test_which_step_and_which_sha256(file):
    assert weights.open_weights(file, step=10).step == 10
    with pytest.raises(CheckpointError, match=r"mine\.safetensors has the weights of step 10, not of step 20"):
        weights.open_weights(file, step=20)
    own = packed.read_packed(file).file_sha256
    assert weights.open_weights(file, require_sha256=own.upper()).step == 10
    with pytest.raises(CheckpointError, match=rf"mine\.safetensors: its SHA-256 is {own}, not 0+ as required"):
        weights.open_weights(file, require_sha256="0" * 64)
    with pytest.raises(InputError, match="expected 64 hexadecimal digits"):
        weights.open_weights(file, require_sha256="12")


def test_a_training_starts_from_a_file(file):
    about = config()["model"]
    model = create_model(about["name"], preset=about["preset"], **about["overrides"])
    initial = load_weights(file, model, SIZE)
    assert_same_bits(initial.params, tiny_params(seed=10)[1])
    assert initial.description == f"starts from step 10 of {file}"


def test_an_evaluation_asks_where_the_pictures_lie_and_where_to_write(forged, file, tmp_path):
    with pytest.raises(InputError, match=r"beside which nothing is written; give --output DIR"):
        evaluate_checkpoint(file)
    path = forged(data=config()["data"] | {"name": "folder", "root": ""})
    with pytest.raises(InputError, match=r"does not say where its images lie; give --data-root DIR"):
        evaluate_checkpoint(path, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_made(run, tmp_path, capsys):
    path = tmp_path / "a.safetensors"
    given = command.parse_arguments(None, [str(run), "--output", str(path), "--dtype", "float16", "--terms", TERMS])
    assert command.run(given) == 0
    sha256 = packed.read_packed(path).file_sha256
    assert capsys.readouterr().out == f"{path}: step 10, float16, 0.0 MiB, not calibrated, SHA-256 {sha256}\n"
    with pytest.raises(SystemExit) as ended:
        command.run(given)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {path}: is there already and is not written over; remove it or choose another name\n"
    )


def test_doctor_says_what_is_in_a_file(file, tmp_path, capsys):
    assert doctor.run(["--ckpt", str(file)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split(maxsplit=1) == [
        "weights",
        f"{file}: intact, step 10, float32, {file.stat().st_size / 2**20:.1f} MiB, "
        f"SHA-256 {packed.read_packed(file).file_sha256}",
    ]
    assert said[1].split(maxsplit=1) == ["note", "twelve phantoms"]
    assert said[2].split(maxsplit=1) == ["terms", TERMS]
    assert said[3].split(maxsplit=1) == ["calibration", "none"]
    assert said[4].startswith("model             name lightweight_ddim")
    path = put(tmp_path / "bad.safetensors", *flipped(*parts(file)))
    assert doctor.run(["--ckpt", str(path)]) == 1
    assert "bad.safetensors: changed after it was packed" in capsys.readouterr().out


@pytest.fixture
def packaged(file, tmp_path, monkeypatch):
    """A package with the weights "mine", and an empty folder to call from."""
    monkeypatch.setattr(pretrained, "SHA256", {"mine": packed.read_packed(file).file_sha256})
    monkeypatch.setattr(pretrained, "file_of", lambda name: file.with_name(f"{name}.safetensors"))
    monkeypatch.chdir(tmp_path)


def test_packaged_weights_are_found_by_name_and_say_their_terms(packaged, file, caplog):
    segmenter = Segmenter.from_pretrained("mine")
    assert segmenter.checkpoint == str(file)
    assert f"mine: {TERMS}" in caplog.text


def test_a_name_that_there_is_not_lists_those_there_are(packaged):
    with pytest.raises(CheckpointError, match=r"^yours: no such folder or file; .* name of packaged weights: mine$"):
        Segmenter.from_pretrained("yours")


def test_a_name_that_is_a_path_as_well_is_refused(packaged, file, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(CheckpointError, match=r"mine is a folder here, and a name .* give \./mine for the folder"):
        Segmenter.from_pretrained("mine")
    with pytest.raises(CheckpointError, match=r"\./mine: holds no checkpoints"):
        Segmenter.from_pretrained("./mine")


def test_a_packaged_file_that_is_another_is_refused(packaged, monkeypatch):
    monkeypatch.setitem(pretrained.SHA256, "mine", "0" * 64)
    with pytest.raises(CheckpointError, match=r"mine\.safetensors: its SHA-256 is .*, not 0+ as required"):
        Segmenter.from_pretrained("mine")


@pytest.mark.parametrize(
    "given",
    [
        "RUN --output F",
        "--output F RUN",
        "--output F --ckpt RUN",
        "--ckpt=RUN --output=F",
    ],
)
def test_the_run_to_pack_by_itself_or_as_ckpt(given):
    options = command.parse_arguments(None, [*given.split(), "--note", "-5 of them"])
    assert (options.run, options.output, options.note) == ("RUN", "F", "-5 of them")


@pytest.mark.parametrize("given", [[], ["RUN", "--ckpt", "RUN"]])
def test_the_run_to_pack_is_given_once(given, capsys):
    with pytest.raises(SystemExit):
        command.parse_arguments(None, [*given, "--output", "F"])
    assert "expected the run to pack, once: RUN or --ckpt RUN" in capsys.readouterr().err
