"""`POST /segment` and what comes of it."""

import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import flax.linen as nn
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from dicom_files import ct_series, ct_slice
from pydicom import dcmread
from segmenters import SIZE, config, picture, red_segmenter
from served import decoded, half, network, png

from ddim_jax.cli import serve as command
from ddim_jax.imageio.images import ReadOptions
from ddim_jax.imageio.stacks import open_stack
from ddim_jax.inference import Segmenter
from ddim_jax.metrics import Quantiles
from ddim_jax.serve import app, jobs
from ddim_jax.serve.segmenting import Network


def test_a_picture_gives_its_mask_and_its_area(client):
    image = picture(3)
    expected = red_segmenter().segment(image)
    answer = client.post("/segment", files={"file": ("x.png", png(image))})
    assert answer.status_code == 200
    body = answer.json()
    (result,) = body["networks"]
    (found,) = result["slices"]
    assert (body["status"], body["not_for_clinical_use"], found["height"], found["width"]) == ("done", True, 20, 24)
    (of_class,) = found["classes"]
    assert of_class == {"name": "foreground", "area": int(expected.mask.sum())}
    assert found["doubt"] == pytest.approx(expected.doubt, abs=1e-6)
    files = {kind: client.get(link) for kind, link in found["files"].items()}
    assert {answer.headers["content-type"] for answer in files.values()} == {"image/png"}
    np.testing.assert_array_equal(decoded(files["mask"].content), expected.mask * 255)
    np.testing.assert_array_equal(decoded(files["masks"].content), expected.mask * 255)
    np.testing.assert_array_equal(decoded(files["picture"].content), image)
    np.testing.assert_array_equal(
        decoded(files["probability"].content), np.round(expected.probability.astype(np.float64) * 65535)
    )
    samples = np.clip(red_segmenter().sample(image) * 0.5 + 0.5, 0, 1)
    np.testing.assert_array_equal(decoded(files["samples"].content), np.round(samples.reshape(-1, SIZE) * 255))


def test_a_body_without_a_form_and_its_options_in_the_address(client):
    grey = np.tile(np.linspace(0, 255, SIZE).astype(np.uint8), (SIZE, 1))
    areas = []
    for threshold in ("0.2", "0.9"):
        answer = client.post(f"/segment?threshold={threshold}", content=png(grey)).json()
        assert answer["networks"][0]["options"]["threshold"] == float(threshold)
        areas.append(answer["networks"][0]["slices"][0]["classes"][0]["area"])
        segmented = red_segmenter().segment(np.repeat(grey[..., None], 3, -1), threshold=float(threshold))
        assert areas[-1] == segmented.mask.sum()
    assert areas[0] > areas[1] > 0


def test_a_job_is_asked_for_until_it_is_done(client):
    answer = client.post("/segment", files={"file": png(half())}, data={"wait": "false"})
    link = answer.json()["links"]["self"]
    assert answer.status_code == 202 and answer.headers["location"] == link
    until = time.monotonic() + 20
    while (body := client.get(link).json())["status"] != "done":
        assert body["status"] in ("waiting", "running") and time.monotonic() < until
        time.sleep(0.01)
    assert body["networks"][0]["slices"][0]["classes"][0]["area"] == SIZE * SIZE // 2
    assert client.delete(link).status_code == 204
    for gone in (link, body["networks"][0]["slices"][0]["files"]["mask"]):
        assert client.get(gone).status_code == 404


def test_a_job_that_fails_says_why(client):
    link = client.post("/segment", content=b"\x89PNG\r\n\x1a\ncut", params={"wait": "false"}).json()["links"]["self"]
    until = time.monotonic() + 20
    while (body := client.get(link).json())["status"] != "failed":
        assert time.monotonic() < until
        time.sleep(0.01)
    assert body["refusal"]["status"] == 422 and body["refusal"]["error"].startswith("The file: ")


def test_an_example_needs_no_file(client, monkeypatch):
    monkeypatch.setattr(app, "_PHANTOM", 64)
    (one, other) = (client.post("/segment", data={"example": str(k)}).json()["networks"][0] for k in (0, 5))
    assert one["slices"][0]["height"] == 64
    assert one["slices"][0]["classes"] != other["slices"][0]["classes"]


def test_two_checkpoints_beside_each_other(serving):
    client = serving([network("all", bias=5.0), network("red")])
    one, other = client.post("/segment", content=png(half())).json()["networks"]
    assert (one["name"], other["name"]) == ("all", "red")
    assert [part["slices"][0]["classes"][0]["area"] for part in (one, other)] == [SIZE * SIZE, SIZE * SIZE // 2]
    assert one["slices"][0]["files"]["mask"] != other["slices"][0]["files"]["mask"]


def test_a_dicom_series_has_areas_and_files_of_its_own(client, tmp_path):
    values = ct_series(tmp_path / "in", count=3)
    sent = [("file", (path.name, path.read_bytes())) for path in (tmp_path / "in").iterdir()]
    answer = client.post("/segment", files=sent, data={"window": "0,1000"})
    body = answer.json()
    (result,) = body["networks"]
    assert result["window"] == [0, 1000] and len(result["slices"]) == 3
    stack = open_stack(sorted((tmp_path / "in").iterdir()), ReadOptions(window=(0, 1000)))
    expected = red_segmenter().segment([stack.read(index) for index in range(3)])
    for found, own in zip(result["slices"], expected, strict=True):
        assert found["pixel_mm2"] == 0.375
        assert found["classes"] == [
            {"name": "foreground", "area": own.mask.sum(), "area_mm2": pytest.approx(own.mask.sum() * 0.375)}
        ]
    (tmp_path / "x.dcm").write_bytes(client.get(result["files"]["dicom-seg"]).content)
    segmentation = dcmread(tmp_path / "x.dcm")
    assert segmentation.Modality == "SEG" and segmentation.Rows == values.shape[1]
    assert segmentation.pixel_array.sum() == sum(int(own.mask.sum()) for own in expected)
    (tmp_path / "x.nii.gz").write_bytes(client.get(result["files"]["nifti"]).content)
    kept = np.asarray(nibabel.load(tmp_path / "x.nii.gz").dataobj)
    np.testing.assert_array_equal(kept, np.stack([own.mask for own in expected]).transpose(2, 1, 0))

    shown = client.get(body["links"]["picture"], params={"slice": 2, "window": "-200,300"})
    other = open_stack(sorted((tmp_path / "in").iterdir()), ReadOptions(window=(-200, 300))).read(1)
    np.testing.assert_array_equal(decoded(shown.content), other[..., 0])
    for wrong in ({"slice": 4, "window": "0,1"}, {"slice": 1}, {"slice": "a", "window": "0,1"}):
        assert client.get(body["links"]["picture"], params=wrong).status_code == 404
    assert client.get(body["links"]["picture"], params={"slice": 1, "window": "0,-1"}).status_code == 422


def test_the_window_that_a_series_is_shown_with(tmp_path):
    """Shown again with the window that it says, a slice is the same."""
    ct_series(tmp_path / "plain", count=3)
    ct_series(tmp_path / "told", count=2, WindowCenter=40, WindowWidth=400)
    for name, slices in (("plain", 3), ("told", 2)):
        stack = open_stack(sorted((tmp_path / name).iterdir()))
        window = stack.window(1)
        assert name == "plain" or window == (40, 400)
        again = stack.with_window(window)
        for index in range(slices):
            difference = stack.read(index).astype(int) - again.read(index)
            assert abs(difference).max() <= 1  # DICOM's linear function leaves half a value out
        nibabel.save(
            nibabel.Nifti1Image(np.random.default_rng(0).normal(0, 9, (6, 5, 4)), np.eye(4)), tmp_path / "v.nii"
        )
    volume = open_stack([tmp_path / "v.nii"])
    np.testing.assert_array_equal(volume.read(2), volume.with_window(volume.window(2)).read(2))


def test_a_nifti_volume_and_a_zip_of_dicom_files(client, tmp_path):
    values = np.zeros((8, 6, 3), np.uint8)
    values[:, :3, 1] = 255
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 5.0, 1.0])), tmp_path / "secret^name.nii.gz")
    sent = {"file": ("secret^name.nii.gz", (tmp_path / "secret^name.nii.gz").read_bytes())}
    (result,) = client.post("/segment", files=sent).json()["networks"]
    assert [one["classes"][0]["area"] > 0 for one in result["slices"]] == [False, True, False]
    assert set(result["files"]) == {"nifti"} and result["unavailable"] == {}
    ct_series(tmp_path / "in", count=2)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in (tmp_path / "in").iterdir():
            archive.write(path, f"secret^name/{path.name}")
        archive.writestr("readme.txt", "no picture")
    (result,) = client.post("/segment", content=(tmp_path / "x.zip").read_bytes()).json()["networks"]
    assert len(result["slices"]) == 2 and set(result["files"]) == {"dicom-seg", "nifti"}


def test_a_dicom_file_that_begins_like_a_tiff_file(client, tmp_path):
    path = ct_slice(tmp_path / "x.dcm", np.zeros((8, 6), int))
    (result,) = client.post("/segment", content=b"II*\0" + path.read_bytes()[4:]).json()["networks"]
    assert result["slices"][0]["pixel_mm2"] == 0.375 and set(result["files"]) == {"dicom-seg", "nifti"}


def test_a_format_that_needs_more_than_the_source_says_does_not_fail_the_others(client, tmp_path):
    ct_slice(tmp_path / "x.dcm", np.zeros((8, 6), int), ImagePositionPatient=None, ImageOrientationPatient=None)
    (result,) = client.post("/segment", content=(tmp_path / "x.dcm").read_bytes()).json()["networks"]
    assert set(result["files"]) == {"dicom-seg"} and len(result["slices"]) == 1
    assert result["unavailable"]["nifti"].startswith("The file: has no position")


def test_why_there_is_no_dicom_seg(serving, tmp_path):
    ct_series(tmp_path / "in", count=2)
    sent = [("file", path.read_bytes()) for path in (tmp_path / "in").iterdir()]
    (result,) = serving([network(segments=())]).post("/segment", files=sent).json()["networks"]
    assert set(result["files"]) == {"nifti"}
    assert "has no coded concept" in result["unavailable"]["dicom-seg"]


def test_the_interval_of_a_calibrated_checkpoint(serving, monkeypatch, tmp_path):
    from ddim_jax.inference.calibration import Calibrated

    found = Calibrated(
        0.9, (Quantiles(0.5, 0.2),), 1.0, {"dataset": "d", "split": "val", "images": 40, "ids_sha256": "x"}
    )
    served = network()
    monkeypatch.setattr(served.segmenter, "calibration", lambda options=None: (found, ""))
    grey = np.tile(np.linspace(0, 255, SIZE).astype(np.uint8), (SIZE, 1))
    (result,) = serving([served]).post("/segment", content=png(grey)).json()["networks"]
    own = red_segmenter().segment(np.repeat(grey[..., None], 3, -1))
    (of_class,) = result["slices"][0]["classes"]
    assert result["coverage"] == 0.9 and "40 of d val" in result["calibration"]
    assert of_class["area_low"] <= own.mask.sum() <= of_class["area_high"] and 0 <= of_class["dice_low"] <= 1


def test_a_picture_unlike_those_of_the_calibration_has_a_warning(serving, monkeypatch):
    from ddim_jax.inference.unlikeness import describe_picture, fit_reference

    rng = np.random.default_rng(0)
    ramp = np.tile(np.linspace(0, 255, SIZE), (SIZE, 1))
    own = [np.clip(ramp + rng.normal(0, 9, ramp.shape), 0, 255).astype(np.uint8) for _ in range(30)]
    reference = fit_reference([describe_picture(image) for image in own[:29]])
    served = network()
    monkeypatch.setattr(served.segmenter, "_reference", (reference, ""))
    client = serving([served])
    black, like = (
        client.post("/segment", content=png(image)).json()["networks"][0]["slices"][0]
        for image in (np.zeros((SIZE, SIZE), np.uint8), own[29])
    )
    assert black["unlikeness"] > 1 and black["warning"].startswith("This picture is unlike the pictures that the model")
    assert like["unlikeness"] < 1 and like["warning"] is None
    monkeypatch.setattr(served.segmenter, "_reference", (None, "not calibrated"))
    (result,) = client.post("/segment", content=png(own[29])).json()["networks"]
    assert result["not_judged"] == "not calibrated"
    assert (result["slices"][0]["unlikeness"], result["slices"][0]["warning"]) == (None, None)


def test_fifty_uploads_at_once_from_ten_clients_are_not_mixed_up(client):
    def send(number):
        rows = number % 15 + 1
        image = half(rows)
        image[0, 0] = 255, number, 0  # each its own
        answer = client.post("/segment", files={"file": ("same.png", png(image))}).json()
        (found,) = answer["networks"][0]["slices"]
        shown = decoded(client.get(found["files"]["picture"]).content)
        mask = decoded(client.get(found["files"]["mask"]).content)
        assert tuple(shown[0, 0]) == (255, number, 0)
        assert (mask > 0).sum() == found["classes"][0]["area"] == SIZE * rows
        return answer["id"]

    with ThreadPoolExecutor(10) as clients:
        assert len(set(clients.map(send, range(50)))) == 50


def test_a_request_chooses_steps_and_samples_and_few_programs_are_held(serving, monkeypatch):
    chosen = network(samples=4)
    dropped, drop = [], chosen.segmenter.drop_programs
    monkeypatch.setattr(type(chosen.segmenter), "drop_programs", lambda self: (dropped.append(1), drop()))
    client = serving([chosen], programs=2, samples=6, steps=3)
    for samples, steps, programs in ((1, 1, 0), (2, 3, 0), (1, 1, 0), (6, 2, 1), (4, 2, 1), (1, 1, 2)):
        asked = {"samples": samples, "steps": steps}
        one = client.post("/segment", files={"file": png(half(4))}, data=asked).json()["networks"][0]
        assert one["options"]["samples"] == samples and one["options"]["steps"] == steps
        assert decoded(client.get(one["slices"][0]["files"]["samples"]).content).shape == (samples * SIZE, SIZE)
        assert one["slices"][0]["classes"][0]["area"] == 4 * SIZE and len(dropped) == programs
    about, described = client.get("/about").json(), client.get("/openapi.json").json()["paths"]["/segment"]["post"]
    assert (about["steps"], about["samples"]) == (3, 6)
    bounds = {one["name"]: one["schema"].get("maximum") for one in described["parameters"]}
    assert (bounds["steps"], bounds["samples"], bounds["seed"]) == (3, 6, None)
    # What the server itself was started with is no less allowed.
    client = serving([chosen], samples=2)
    assert client.post("/segment?samples=4", content=png(half())).status_code == 200
    refused = client.post("/segment?samples=5", content=png(half()))
    assert refused.status_code == 422 and refused.json()["error"] == "samples is 5; this server takes 4 at most"


def test_a_full_queue_says_when_to_try_again(serving, monkeypatch):
    client = serving(waiting=2)
    gate = threading.Event()
    assert client.get("/healthz").json()["unfinished"] == 0
    run = jobs.Jobs._run
    monkeypatch.setattr(jobs.Jobs, "_run", lambda *given: (gate.wait(20), run(*given)))
    links = [client.post("/segment?wait=false", content=png(half())).json()["links"]["self"] for _ in range(2)]
    assert client.get(links[1]).json()["progress"]["before"] == 1
    refused = client.post("/segment", content=png(half()))
    assert refused.status_code == 503 and refused.headers["retry-after"] == "5"
    assert client.delete(links[1]).status_code == 204  # what was removed makes room, and is not segmented
    gate.set()
    assert client.post("/segment", content=png(half())).status_code == 200
    assert client.get(links[0]).json()["status"] == "done"


def test_a_job_that_is_removed_while_it_is_segmented(client, monkeypatch, caplog):
    begun, gate = threading.Event(), threading.Event()

    def slow(planned, network, options, limits, prefix, folder, advance):
        begun.set()
        assert gate.wait(20)
        return (folder / "gone").read_bytes()

    monkeypatch.setattr(app, "segment", slow)
    link = client.post("/segment?wait=false", content=png(half())).json()["links"]["self"]
    assert begun.wait(20) and client.delete(link).status_code == 204
    gate.set()
    monkeypatch.undo()
    assert client.post("/segment", content=png(half())).status_code == 200
    assert client.get(link).status_code == 404 and "fault" not in caplog.text


def test_results_are_removed_after_a_while_and_when_they_are_too_many(serving):
    client = serving(kept_seconds=0.2)
    link = client.post("/segment", content=png(half())).json()["links"]["self"]
    time.sleep(0.25)
    assert client.get(link).status_code == 404
    client = serving(kept_bytes=20_000)
    rng = np.random.default_rng(0)
    links = [
        client.post("/segment", content=png(rng.integers(0, 256, (32, 32, 3), np.uint8))).json()["links"]["self"]
        for _ in range(8)
    ]
    there = [client.get(link).status_code == 200 for link in links]
    assert there[-1] and not there[0] and there == sorted(there)


def test_nothing_is_left_in_the_folder_of_the_server(serving, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs.tempfile, "tempdir", str(tmp_path))
    client = serving()
    client.post("/segment", content=png(half()))
    (root,) = (path for path in tmp_path.iterdir() if path.name.startswith("ddim-jax-serve-"))
    assert root.stat().st_mode & 0o077 == 0
    assert [path.name for path in root.rglob("*") if path.is_file()] == [".lock"]
    client.__exit__(None, None, None)
    client.__enter__()
    assert not root.exists()


class ReadsColours(nn.Module):
    """Red is the first class, green the second, and what is neither the background."""

    size_multiple = 2

    @nn.compact
    def __call__(self, noisy_mask, image, t):
        self.param("unused", nn.initializers.zeros, ())
        classes = image[..., :2]
        return jnp.concatenate([-classes.max(axis=-1, keepdims=True), classes], axis=-1)


def test_several_classes_stand_side_by_side(serving):
    about = config()
    about["data"] |= {"labels": {"lung": 1, "heart": 2}}
    segmenter = Segmenter(
        ReadsColours(), {"unused": np.float32(0)}, config=about, step=7, checkpoint="run/checkpoints/7"
    )
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[:4, :, 0], image[6:9, :5, 1] = 255, 255
    client = serving([Network.create("two", segmenter)])
    (result,) = client.post("/segment", content=png(image)).json()["networks"]
    (found,) = result["slices"]
    assert result["exclusive"] and [one["name"] for one in result["classes"]] == ["lung", "heart"]
    assert found["classes"] == [{"name": "lung", "area": 4 * SIZE}, {"name": "heart", "area": 15}]
    both = np.concatenate([image[..., 0], image[..., 1]], axis=1)
    for kind, scale in (("masks", 1), ("samples", 1), ("probability", 257)):
        pixels = decoded(client.get(found["files"][kind]).content)
        np.testing.assert_array_equal(pixels[:SIZE], both.astype(int) * scale)
    assert pixels.shape == (SIZE, 2 * SIZE)


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SystemExit, match="2"):
        command.run(command.parse_arguments(None, ["--ckpt", "A"]))
    assert "error: uvicorn is not installed; pip install 'ddim_jax[serve]'" in capsys.readouterr().err


def test_a_result_that_takes_too_much_room_is_refused(serving):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    answer = serving(kept_bytes=20_000).post("/segment", content=png(noise))
    assert answer.status_code == 413 and "takes more than 10000 bytes" in answer.json()["error"]
