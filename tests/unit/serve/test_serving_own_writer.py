"""A kind of result from outside of the package on the page: offered, loaded, and left out where it cannot be."""

import io

import numpy as np
import pydicom
import pytest
from dicom_files import ct_slice
from served import half, png

from ddim_jax import register
from ddim_jax.imageio.writers.dicom_seg import write_segmentation
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import DataError, InputError


@pytest.fixture
def registered():
    """Registers writers, which are forgotten afterwards."""
    before = set(WRITERS)
    yield register.writer
    for name in set(WRITERS) - before:
        del WRITERS._entries[name]


def result_of(client, data):
    answer = client.post("/segment", files={"file": data})
    assert answer.status_code == 200, answer.text
    return answer.json()["networks"][0]


def test_a_writer_that_declares_nothing_has_a_file_on_the_page(client, registered):
    before = result_of(client, png(half(4)))["formats"]
    for name in ("mask", "overlay", "probability", "uncertainty"):
        assert before[name] == name.capitalize()

    @registered("area")
    class Area:
        suffix = ".area.txt"

        def write(self, path, result, image, source, context):
            path.write_text(f"{result.mask.sum()} of {source.name}")

    found = result_of(client, png(half(4)))
    (one,) = found["slices"]
    answer = client.get(one["files"]["area"])
    assert answer.text == f"{one['classes'][0]['area']} of 0001.png"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert found["formats"] == before | {"area": "area"}
    assert set(one["files"]) == {*found["formats"], "picture", "masks", "samples"} and found["unavailable"] == {}


def test_a_writer_says_its_title_its_type_and_what_it_needs(client, registered):
    @registered("weights")
    class Weights:
        suffix = ".bin"
        title = "Weights of hypotheses"
        media_type = "application/x-weights"
        needs_hypotheses = True

        def write(self, path, result, image, source, context):
            path.write_bytes(bytes([len(result.hypotheses)]))

    @registered("unseen")
    class Unseen(Weights):
        on_page = False

    found = result_of(client, png(half()))
    answer = client.get(found["slices"][0]["files"]["weights"])
    assert answer.headers["content-type"] == "application/x-weights" and answer.content == b"\x01"
    assert found["formats"]["weights"] == "Weights of hypotheses" and "unseen" not in found["formats"]


def test_what_a_writer_cannot_make_is_told_and_stops_no_other(client, registered):
    class Area:
        suffix = ".txt"

        def write(self, path, result, image, source, context):
            path.touch()

    registered("masks")(type("Masks", (Area,), {}))  # as the page calls one of its own

    @registered("refused")
    class Refused(Area):
        @staticmethod
        def check(sources, context):
            raise InputError(f"refuses {len(sources)}")

    @registered("failing")
    class Failing(Area):
        def write(self, path, result, image, source, context):
            raise DataError("has no height")

    found = result_of(client, png(half()))
    assert found["unavailable"] == {
        "failing": "Has no height",
        "masks": "The page has images called masks; register the writer by another name.",
        "refused": "Refuses 1",
    }
    assert client.get(found["slices"][0]["files"]["mask"]).status_code == 200
    assert found["slices"][0]["files"]["masks"].endswith(".png") and found["formats"]["refused"] == "refused"


def test_a_writer_of_dicom_files_needs_no_table(client, registered, tmp_path):
    @registered("dicom-mine")
    class Mine:
        suffix = ".dcm"
        media_type = "application/dicom"
        of_dicom = True

        def write_stack(self, path, masks, probability, stack, context):
            write_segmentation(path, masks, stack, context, kind="dicom-mine")

    @registered("dicom-numbered")
    class Numbered(Mine):
        series_number = 77

        def write_stack(self, path, masks, probability, stack, context):
            write_segmentation(path, masks, stack, context, kind="dicom-numbered")

    path = ct_slice(tmp_path / "a.dcm", np.zeros((16, 16)))
    found = result_of(client, path.read_bytes())
    numbers = {}
    for kind, link in found["files"].items():
        answer = client.get(link)
        if answer.headers["content-type"] == "application/dicom":
            numbers[kind] = pydicom.dcmread(io.BytesIO(answer.content)).SeriesNumber
    assert numbers == {"dicom-mine": 9000, "dicom-numbered": 77, "dicom-seg": 9001}
    assert "dicom-mine" not in result_of(client, png(half()))["formats"]


def test_a_writer_that_fails_is_a_fault_of_the_program_in_the_log_by_its_place(client, registered, tmp_path, caplog):
    @registered("broken")
    class Broken:
        suffix = ".json"

        def write_stack(self, path, masks, probability, stack, context):
            raise KeyError("Doe^John")

    path = ct_slice(tmp_path / "a.dcm", np.zeros((16, 16)))
    answer = client.post("/segment", files={"file": path.read_bytes()})
    assert answer.status_code == 500 and "The program has a fault" in answer.text and "Doe" not in answer.text
    assert "KeyError at " in caplog.text and "test_serving_own_writer.py:" in caplog.text and "Doe" not in caplog.text
