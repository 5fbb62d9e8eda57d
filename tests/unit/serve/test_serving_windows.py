"""The windows of slices of DICOM and NIfTI files: what the server says of them, and shows with others."""

import nibabel
import numpy as np
import pytest
from dicom_files import ct_series, ct_slice
from served import decoded

from ddim_jax.imageio.stacks import open_stack
from ddim_jax.runtime.errors import DataError

EIGHT_BITS = {"BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}


@pytest.mark.parametrize(
    ("count", "attributes", "window"),
    [
        (3, {}, None),
        (2, {"WindowCenter": 40, "WindowWidth": 400}, (40, 400)),
        # Values that nothing changes are the grey levels; an intercept alone gives all frames one range.
        (1, EIGHT_BITS | {"RescaleSlope": 1, "RescaleIntercept": 0}, (127.5, 255)),
        (2, EIGHT_BITS | {"RescaleSlope": None, "RescaleIntercept": None}, (127.5, 255)),
        (2, EIGHT_BITS | {"RescaleSlope": None, "RescaleIntercept": -10}, (74.5, 89)),
        (1, EIGHT_BITS | {"RescaleSlope": None, "RescaleIntercept": -10}, (54.5, 49)),
    ],
)
def test_the_window_that_a_series_is_shown_with(count, attributes, window, tmp_path):
    """Shown again with the window that it says, a slice is the same."""
    if "BitsStored" in attributes:  # 40 to 89, and 80 to 129
        for number in range(count):
            values = np.arange(40, 90).reshape(5, 10) + 40 * number - 1024
            ct_slice(tmp_path / f"{number}.dcm", values, place=(0, 0, number), number=number, **attributes)
    else:
        ct_series(tmp_path, count=count, **attributes)
    stack = open_stack(sorted(tmp_path.iterdir()))
    assert window is None or stack.window(0) == pytest.approx(window, abs=0.6)  # the share that is cut off
    again = stack.with_window(stack.window(0))
    for index in range(count):
        np.testing.assert_array_equal(again.read(index), stack.read(index))


def test_the_window_that_a_volume_is_shown_with(tmp_path):
    for values in (np.random.default_rng(0).normal(0, 9, (6, 5, 4)), np.full((6, 5, 4), -70.0)):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "v.nii")
        volume = open_stack([tmp_path / "v.nii"])
        np.testing.assert_array_equal(volume.read(2), volume.with_window(volume.window(2)).read(2))
    assert volume.window(2) == (-69.5, 1)


@pytest.mark.parametrize("count", [1, 2])
def test_images_of_one_value_have_a_window_that_can_be_asked_for(count, client, tmp_path):
    for number in range(count):
        ct_slice(tmp_path / f"{number}.dcm", np.full((8, 6), 300), place=(0, 0, number), number=number)
    sent = [("file", path.read_bytes()) for path in tmp_path.iterdir()]
    body = client.post("/segment", files=sent).json()
    (result,) = body["networks"]
    assert [one["window"] for one in result["slices"]] == [[300.5, 1]] * count
    asked = client.get(body["links"]["picture"], params={"slice": count, "window": "300.5,1"})
    assert asked.status_code == 200
    own = client.get(result["slices"][-1]["files"]["picture"]).content
    np.testing.assert_array_equal(decoded(asked.content), decoded(own))


@pytest.mark.parametrize(("count", "told"), [(1, "even ("), (2, "even (2 of 2 slices; ")])
def test_a_window_that_shows_nothing_is_told_of(count, told, client, tmp_path):
    ct_series(tmp_path, count=count)
    sent = [("file", path.read_bytes()) for path in tmp_path.iterdir()]
    (result,) = client.post("/segment?window=9000,10", files=sent).json()["networks"]
    shown = "the window 9000,10 shows every pixel alike, so the result is empty; leave it out or widen it)"
    assert told + shown in result["notes"]


def series_of_windows(folder):
    """An image three times, with windows of its own each, as MR has them."""
    values = np.tile(np.linspace(0, 1000, 12).astype(int), (10, 1))
    for number, (centre, width) in enumerate(((0, 800), (100, 400), (400, 1600))):
        place = {"place": (0, 0, 2.5 * number), "number": number, "WindowCenter": centre, "WindowWidth": width}
        ct_slice(folder / f"{number}.dcm", values, **place)
    return sorted(folder.glob("*.dcm"))


def test_slices_with_windows_of_their_own_share_that_of_the_middle_one(client, tmp_path):
    sent = [("file", path.read_bytes()) for path in series_of_windows(tmp_path)]
    body = client.post("/segment", files=sent).json()
    (result,) = body["networks"]
    assert [one["window"] for one in result["slices"]] == [[100, 400]] * 3 and result["window"] == [100, 400]
    assert len({one["classes"][0]["area"] for one in result["slices"]}) == 1
    pictures = [decoded(client.get(one["files"]["picture"]).content) for one in result["slices"]]
    again = decoded(client.get(body["links"]["picture"], params={"slice": 3, "window": "100,400"}).content)
    for picture in pictures:  # LINEAR in the files, LINEAR_EXACT where it is asked for
        np.testing.assert_allclose(picture.astype(int), again.astype(int), atol=1)
    assert any(note.startswith("windows differ (3 kinds in 3 slices; all are shown with") for note in result["notes"])
    # A window that was asked for is that of all, and nothing differs.
    (result,) = client.post("/segment?window=0,90", files=sent).json()["networks"]
    assert [one["window"] for one in result["slices"]] == [[0, 90]] * 3
    assert not any("windows differ" in note for note in result["notes"])


def test_why_a_slice_cannot_be_shown_again_is_told(client, tmp_path, monkeypatch):
    ct_series(tmp_path, count=2)
    sent = [("file", path.read_bytes()) for path in sorted(tmp_path.iterdir())]
    link = client.post("/segment", files=sent).json()["links"]["picture"]

    def fail(stack, index, window, invert):
        raise DataError(f"{stack.files[index]}: is truncated.")

    monkeypatch.setattr("ddim_jax.serve.app.show", fail)
    refused = client.get(link, params={"slice": 1, "window": "0,80"})
    assert (refused.status_code, refused.json()["error"]) == (422, "File 2 is truncated.")  # names run against places
