"""The fields of a row of Table 2; rows that are there are not measured again."""

import json

import jax  # noqa: F401, in a condition below
import pytest

from benchmarks.quality import table2
from benchmarks.quality.table2 import OneImage

on_cpu = pytest.mark.skipif("jax.default_backend() != 'cpu'")


@pytest.fixture(scope="module")
def row():
    return OneImage("unet", 32, None, None, preset="small").measure()


@on_cpu
def test_a_row(row):
    about = {"system": "unet", "size": 32, "dtype": "float32", "sampler": None, "samples": 4}
    about |= {"sampling_steps": 1, "timed_steps": 1, "parameters": 510_788, "weights_bytes": 4 * 510_788}
    assert row | about == row
    assert 0.0 < row["seconds"] < row["first_with_compilation_s"]
    assert 1 <= row["runs"] <= 5


@on_cpu
@pytest.mark.parametrize(
    ("system", "steps", "own", "timed"),
    [("unet", None, 1, 1), ("medsegdiff", None, 1000, 2), ("ddim_noise", 20, 50, 20), ("ddim_noise", 80, 50, 50)],
)
def test_the_steps_that_are_timed_on_a_cpu(system, steps, own, timed):
    about = OneImage(system, 32, None, steps, preset="small").about()
    assert (about["sampling_steps"], about["timed_steps"]) == (own, timed)


class FakeWorker:
    """In the place of a worker: remembers what was measured."""

    measured: list[str]

    def __init__(self, _, system, size, *__, **___):
        self.row = {"system": system, "size": size, "device": "a machine", "dtype": "float32", "timed_steps": 2}
        self.row |= {"parameters": 1, "seconds": 1.0, "sampling_steps": 50, "peak_bytes": 2**20}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def call(self, method):
        if method == "measure":
            self.measured.append(self.row["system"])
        return self.row


def test_rows_that_are_there_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(table2, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "measured", [], raising=False)
    output = tmp_path / "table2.json"

    def call(*systems, size="256"):
        return table2.main(["--systems", *systems, "--size", size, "--output", str(output)])

    assert call("unet") == 0 and call("unet", "ddim") == 0
    assert FakeWorker.measured == ["unet", "ddim"]
    assert call("unet", size="128") == 0
    assert [row["system"] for row in json.loads(output.read_text())["rows"]] == ["unet", "ddim", "unet"]


def test_a_trial_does_not_go_into_the_table():
    with pytest.raises(SystemExit):
        table2.main(["--preset", "small"])
