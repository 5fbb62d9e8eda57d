"""`POST /segment` and what comes of it."""

import copy
import sys
import time

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from segmenters import SIZE, config, picture, red_segmenter
from served import decoded, half, network, png

from ddim_jax.cli import serve as command
from ddim_jax.inference import Segmenter
from ddim_jax.metrics import DoubtScale, Quantiles
from ddim_jax.serve import app
from ddim_jax.serve.network import ServedNetwork


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
    own = ("mask", "overlay", "probability", "uncertainty", "picture", "masks", "samples")
    assert {files[kind].headers["content-type"] for kind in own} == {"image/png"}
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
    (one, other) = (client.post(f"/segment?example={k}").json()["networks"][0] for k in (0, 5))
    assert one["slices"][0]["height"] == 64
    assert one["slices"][0]["classes"] != other["slices"][0]["classes"]
    assert client.post("/segment", files={"example": (None, "5")}).json()["networks"][0]["slices"][0]["height"] == 64
    assert client.post("/segment", data={"example": "5"}).status_code == 415  # a body without files is a file itself


def test_two_checkpoints_beside_each_other(serving):
    client = serving([network("all", bias=5.0), network("red")])
    one, other = client.post("/segment", content=png(half())).json()["networks"]
    assert (one["name"], other["name"]) == ("all", "red")
    assert [part["slices"][0]["classes"][0]["area"] for part in (one, other)] == [SIZE * SIZE, SIZE * SIZE // 2]
    assert one["slices"][0]["files"]["mask"] != other["slices"][0]["files"]["mask"]


def test_the_interval_of_a_calibrated_checkpoint(serving, monkeypatch, tmp_path):
    from ddim_jax.inference.calibration import Calibrated

    about = {"dataset": "d", "split": "val", "images": 40, "ids_sha256": "x"}
    found = Calibrated(0.9, (Quantiles(0.5, 0.2),), 1.0, about, DoubtScale(1.0, (0.0,), (1.0,)))
    served = network()
    monkeypatch.setattr(served.segmenter, "calibration", lambda options=None: (found, ""))
    grey = np.tile(np.linspace(0, 255, SIZE).astype(np.uint8), (SIZE, 1))
    (result,) = serving([served]).post("/segment", content=png(grey)).json()["networks"]
    own = red_segmenter().segment(np.repeat(grey[..., None], 3, -1))
    (of_class,) = result["slices"][0]["classes"]
    assert result["coverage"] == 0.9 and "40 of d val" in result["calibration"]
    assert of_class["area_low"] <= own.mask.sum() <= of_class["area_high"] and 0 <= of_class["dice_low"] <= 1
    assert of_class["unlike"] is None


def test_a_picture_unlike_those_of_the_calibration_has_a_warning(serving, monkeypatch):
    from ddim_jax.inference.unlikeness import describe_image, fit_reference

    rng = np.random.default_rng(0)
    ramp = np.tile(np.linspace(0, 255, SIZE), (SIZE, 1))
    own = [np.clip(ramp + rng.normal(0, 9, ramp.shape), 0, 255).astype(np.uint8) for _ in range(30)]
    reference = fit_reference([describe_image(image) for image in own[:29]])
    served = network()
    monkeypatch.setattr(served.segmenter, "_reference", (reference, ""))
    client = serving([served])
    black, like = (
        client.post("/segment", content=png(image)).json()["networks"][0]["slices"][0]
        for image in (np.zeros((SIZE, SIZE), np.uint8), own[29])
    )
    assert black["unlikeness"] > 1 and black["warning"].startswith("This image is unlike the images that the model")
    assert like["unlikeness"] < 1 and like["warning"] is None
    monkeypatch.setattr(served.segmenter, "_reference", (None, "not calibrated"))
    (result,) = client.post("/segment", content=png(own[29])).json()["networks"]
    assert result["not_judged"] == "not calibrated"
    assert (result["slices"][0]["unlikeness"], result["slices"][0]["warning"]) == (None, None)


def bounds_of(client):
    """The most steps and samples, as two addresses say them."""
    about, described = client.get("/about").json(), client.get("/openapi.json").json()["paths"]["/segment"]["post"]
    bounds = {one["name"]: one["schema"].get("maximum") for one in described["parameters"]}
    assert (about["steps"], about["samples"], None) == tuple(bounds[name] for name in ("steps", "samples", "seed"))
    return [about["steps"], about["samples"]]


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
    assert bounds_of(client) == [3, 6]
    # What the server itself was started with is no less allowed; of two networks, what both take.
    assert bounds_of(serving([chosen, network(samples=3)], samples=2, steps=3)) == [3, 3]
    client = serving([chosen], samples=2, steps=3)
    assert bounds_of(client) == [3, 4]
    assert client.post("/segment?samples=4", content=png(half())).status_code == 200
    refused = client.post("/segment?samples=5", content=png(half()))
    assert refused.status_code == 422 and refused.json()["error"] == "samples is 5; this server takes 1 to 4"


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
    client = serving([ServedNetwork.create("two", segmenter)])
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
    told = "error: uvicorn is not installed; pip install '.[serve]' in a checkout of ddim_jax"
    assert told in capsys.readouterr().err


def test_segments_do_not_relabel_what_one_of_two_checkpoints_says_itself(monkeypatch, capsys):
    def loads(*concepts):
        own = dict(zip("ABC", concepts, strict=False))

        def load(ckpt, **options):
            found = copy.copy(red_segmenter())  # which is one for all
            found.config = found.config | {"data": found.config["data"] | {"segments": own[ckpt]}}
            return found

        monkeypatch.setattr(command.Segmenter, "load", load)
        monkeypatch.setattr(command, "_serve", lambda *given: None)
        given = ["--port", "0", "--ckpt", *own, "--segments", "foreground=Lung"]
        return command.run(command.parse_arguments(None, given))

    monkeypatch.setattr(command, "begin", lambda: None)
    assert loads(["Lung"], []) == loads(["Heart"]) == 0  # of one checkpoint it is meant
    with pytest.raises(SystemExit, match="2"):
        loads(["Lung"], ["MorphologicallyAbnormalStructure/PolypOfColon"])
    told = "--segments says Lung of the class 'foreground', and B says MorphologicallyAbnormalStructure/PolypOfColon"
    assert told in capsys.readouterr().err
