"""Series of DICOM files among the inputs: what is one, and its name."""

import shutil

import numpy as np
import pytest
from dicom_files import bundled, ct_series, ct_slice

from ddim_jax.inference.jobs import plan_jobs
from ddim_jax.runtime.errors import InputError


def test_a_folder_of_dicom_files_without_a_picture_is_refused_with_their_kinds(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("rtdose.dcm", "reportsi.dcm", "test-SR.dcm"):
        shutil.copy(bundled(name), tmp_path / "in")
    message = r"none of the 3 DICOM files holds an image \(DICOM, a dose 1, DICOM, a report 2\)"
    with pytest.raises(InputError, match=message):
        plan_jobs(tmp_path / "in", tmp_path / "out")


def test_series_are_named_by_their_folder_or_their_first_file(tmp_path):
    ct_series(tmp_path / "in/a", count=2)
    ct_series(tmp_path / "in/b", count=2, series="1.2.3")
    for number in (1, 2):  # a second series in one folder
        ct_slice(
            tmp_path / f"in/b/z{number}.dcm", np.zeros((4, 4)), place=(0, 0, number), number=number, series="1.2.4"
        )
    ct_slice(tmp_path / "in/report.dcm", np.zeros((4, 4)), Modality="SR")
    plan = plan_jobs(tmp_path / "in", tmp_path / "out")
    assert [(job.name, len(job.files)) for job in plan.jobs] == [("a", 2), ("b/IM001", 2), ("b/z1", 2)]
    assert plan.passed_over == {"DICOM, a report": 1}
    (job,) = plan_jobs(tmp_path / "in/a", tmp_path / "out").jobs
    assert (job.name, job.source) == ("a", str(tmp_path / "in/a"))
    (job,) = plan_jobs(tmp_path / "in/a/IM001", tmp_path / "out").jobs
    assert (job.name, job.files) == ("IM001", (str(tmp_path / "in/a/IM001"),))


@pytest.mark.parametrize(
    "given",
    [
        ("study", "study/ser"),
        ("study/ser", "study"),
        ("study/ser", "study/ser/*"),
        ("study/ser", "study/ser"),
        ("study/ser/IM002", "study"),  # a file by itself, and of the series that the folder holds
    ],
)
def test_a_series_that_several_inputs_find_is_one(tmp_path, monkeypatch, given):
    ct_series(tmp_path / "study/ser", count=3)
    monkeypatch.chdir(tmp_path)
    (job,) = plan_jobs(given, "out").jobs
    assert (job.name, job.source) == ("ser", str(tmp_path / "study/ser"))
    assert sorted(job.slices) == [str(tmp_path / f"study/ser/IM{number:03d}") for number in (1, 2, 3)]


def test_a_slice_that_several_inputs_find_is_no_series(tmp_path):
    file = ct_slice(tmp_path / "in.dcm", np.zeros((4, 4)))
    for given in ([f"{tmp_path}/*.dcm", f"{tmp_path}/in*"], [tmp_path, f"{tmp_path}/*.dcm", file]):
        (job,) = plan_jobs(given, tmp_path / "out").jobs
        assert (job.name, job.files, job.slices) == ("in", (str(file),), ())
