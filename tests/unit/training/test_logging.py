import errno
import json
import struct
import time

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from ddim_jax.training.logging import NullReporter, Reporter, create_reporter
from ddim_jax.training.validation import Validation


def reporter(workdir, start_step=0):
    return Reporter(workdir, steps=100, start_step=start_step, batch_size=8)


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def events(workdir):
    """The records of all event files: length (8 bytes), its checksum (4), the event, its checksum (4)."""
    found = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            found.append(Event.FromString(content[at + 12 : at + 12 + length]))
            at += length + 16
    return found


def scalars(workdir):
    return {
        (value.tag, event.step): value.simple_value
        for event in events(workdir)
        for value in event.summary.value
        if value.HasField("simple_value")
    }


def validation():
    rng = np.random.default_rng(0)
    return Validation(
        loss=0.25,
        dice=0.75,
        images=rng.integers(0, 256, (2, 4, 4, 3), np.uint8),
        truths=rng.integers(0, 2, (2, 4, 4), np.uint8),
        probabilities=rng.random((2, 4, 4), np.float32),
    )


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [100.0]
    monkeypatch.setattr("ddim_jax.training.logging.time.perf_counter", lambda: now[0])
    return now


def test_numbers_of_a_run(tmp_path, clock, capsys):
    with reporter(tmp_path) as report:
        clock[0] += 60.0  # compiling
        report.restart_clock(1)
        report.training(1, {"loss": 2.0, "learning_rate": 0.1, "gradient_norm": 3.0})
        clock[0] += 4.0
        report.training(11, {"loss": 1.0, "learning_rate": 0.2, "gradient_norm": 0.5})
        report.validation(11, validation())
    assert lines(tmp_path) == [
        {"step": 1, "loss": 2.0, "learning_rate": 0.1, "gradient_norm": 3.0},  # nothing timed yet
        {"step": 11, "loss": 1.0, "learning_rate": 0.2, "gradient_norm": 0.5, "images_per_second": 20.0},
        {"step": 11, "validation_loss": 0.25, "validation_dice": 0.75},
    ]
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "step 1/100: loss 2.0000",
        "step 11/100: loss 1.0000, 20.0 images/s, 0 min 36 s left",  # 89 steps of 8 at 20 a second
        "step 11/100: validation loss 0.2500, Dice 0.7500",
    ]


def test_tensorboard_has_the_same(tmp_path):
    with reporter(tmp_path) as report:
        report.training(10, {"loss": 1.5, "learning_rate": 0.25})
        report.validation(10, validation())
    written = scalars(tmp_path)
    expected = {"loss": 1.5, "learning_rate": 0.25, "validation_loss": 0.25, "validation_dice": 0.75}
    assert {tag: written[tag, 10] for tag in expected} == expected
    (picture,) = [v.image for e in events(tmp_path) for v in e.summary.value if v.HasField("image")]
    assert (picture.height, picture.width) == (2 * 4, 3 * 4)  # a row for each image: image, truth, probability


def test_a_resumed_run_takes_back_what_it_will_do_again(tmp_path):
    with reporter(tmp_path) as report:
        for step in (5, 10, 15):
            report.training(step, {"loss": float(step)})
        report.validation(10, validation())
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2')  # torn; a step before the resumed one, could it be read
    with reporter(tmp_path, start_step=10) as report:
        report.training(20, {"loss": 20.0})
    assert [line["step"] for line in lines(tmp_path)] == [5, 10, 10, 20]
    # Viewers drop what an earlier file holds from this step on.
    restarts = [event for event in events(tmp_path) if event.session_log.status]
    assert restarts[-1].step == 11


def test_a_run_that_never_saved_starts_over(tmp_path):
    with reporter(tmp_path) as report:
        report.training(5, {"loss": 1.0})
    with reporter(tmp_path):
        assert lines(tmp_path) == []


def test_long_runs_are_told_in_hours(tmp_path, clock, capsys):
    with reporter(tmp_path) as report:
        clock[0] += 400.0
        report.training(10, {"loss": 1.0})
    assert "0.2 images/s, 1 h 00 min left" in capsys.readouterr().err


@pytest.mark.parametrize("small_disk", ["64k"], indirect=True)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_events_that_the_disk_refuses_are_an_error_and_no_end_of_the_run(small_disk, tmp_path):
    """The thread that writes them ends there; the run must not wait for it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/tensorboard").symlink_to(small_disk)
    with pytest.raises(OSError) as error, reporter(tmp_path / "run") as report:
        noise = np.random.default_rng(0).integers(0, 256, (2, 200, 200, 3), np.uint8)  # that PNG cannot make smaller
        for step in range(8):
            flat = np.zeros((2, 200, 200))
            report.validation(step, validation()._replace(images=noise, truths=flat, probabilities=flat))
            time.sleep(0.2)
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "run/tensorboard"))


def test_processes_but_the_first_say_nothing(tmp_path, monkeypatch, capsys):
    def lines():
        raise AssertionError("made, though the share of this process may have nothing to tell of")
        yield

    monkeypatch.setattr("jax.process_index", lambda: 1)
    with create_reporter(tmp_path, steps=1, start_step=0, batch_size=1) as report:
        assert isinstance(report, NullReporter)
        report.message("a")
        report.messages(lines())
        report.restart_clock(1)
        report.training(1, {"loss": 1.0})
        report.validation(1, validation())
    assert capsys.readouterr() == ("", "") and list(tmp_path.iterdir()) == []


def test_a_line_that_the_disk_refuses_names_the_file(tmp_path):
    with pytest.raises(OSError) as error, reporter(tmp_path) as report:
        report._file = open("/dev/full", "w")  # noqa: SIM115
        report.training(1, {"loss": 1.0})
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "metrics.jsonl"))
    assert [event.step for event in events(tmp_path)][-1] == 1  # the other file was closed all the same
