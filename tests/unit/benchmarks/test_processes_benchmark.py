"""Runs of train.py as the benchmarks start them: their arguments, what is read of them, and what is made of several."""

import json
import os

import pytest

from benchmarks.speed import processes

STAND_IN = """
import json, os, sys
fields = dict(argument.removeprefix("--").partition("=")[::2] for argument in sys.argv[1:] if "=" in argument)
if fields.get("config.train.batch_size") == "13":
    sys.exit(3)
if int(fields.get("process-id", 0)) == 0:
    about = {**fields, "cpus": sorted(os.sched_getaffinity(0))}
    os.makedirs(fields["workdir"])
    with open(fields["workdir"] + "/about.json", "w") as file:
        json.dump(about, file)
    with open(fields["workdir"] + "/metrics.jsonl", "w") as file:
        for speed in (10.0, 30.0, 20.0):
            print(json.dumps({"images_per_second": speed}), file=file)
        print(json.dumps({"dice": 0.5}), file=file)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(STAND_IN)
    monkeypatch.setattr(processes, "ROOT", tmp_path)
    return tmp_path


def test_speed_is_the_median_of_processes_that_are_tied(stand_in):
    cpus = sorted(os.sched_getaffinity(0))
    assert processes.train([cpus[-1], cpus[0]], stand_in / "run", steps=20, size=32, batch=6) == 20.0
    about = json.loads((stand_in / "run" / "about.json").read_text())
    assert about["cpus"] == [cpus[-1]]
    assert about["process-count"] == "2" and about["coordinator-address"].startswith("127.0.0.1:")
    assert (about["config.train.batch_size"], about["config.train.steps"]) == ("6", "20")


def test_one_process_has_no_coordinator(stand_in):
    cpus = sorted(os.sched_getaffinity(0))[:1]
    processes.train(cpus, stand_in / "run", steps=20, size=32, batch=6)
    about = json.loads((stand_in / "run" / "about.json").read_text())
    assert about["cpus"] == cpus and "process-count" not in about


def test_a_run_that_failed_is_no_speed(stand_in):
    cpus = sorted(os.sched_getaffinity(0))[:1]
    with pytest.raises(RuntimeError, match=r"train.py ended with \[3\]"):
        processes.train(cpus, stand_in / "run", steps=20, size=32, batch=13)


def test_one_and_two_processes_train_in_turn(tmp_path, monkeypatch):
    speeds = iter([10.0, 17.0, 20.0, 32.0, 12.0, 24.0])
    asked = []

    def train(tied, workdir, *, steps, size, batch):
        asked.append((tied, batch))
        return next(speeds)

    monkeypatch.setattr(processes, "train", train)
    row = processes.training([4, 5], tmp_path, 30, 64, 3, (16, 32))
    assert asked == 3 * [([4], 16), ([4, 5], 32)]
    assert row["ratios"] == [1.7, 1.6, 2.0]
    assert (row["one"], row["two"], row["ratio"]) == (12.0, 24.0, 2.0)  # medians of 10, 20, 12 and of 17, 32, 24
    assert (row["batch_of_one"], row["batch_of_two"]) == (16, 32)
