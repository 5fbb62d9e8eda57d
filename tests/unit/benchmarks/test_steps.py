"""The curve over steps and samples as it is started: what is trained and measured, what a second call still does."""

import json

import pytest
from PIL import Image

from benchmarks.quality import steps
from benchmarks.quality.figures import draw_curves
from benchmarks.quality.steps import Setting, settings


def test_every_setting_once_the_cheap_first():
    found = list(settings())
    assert len(set(found)) == len(found) == 3 * (1 + 2 + 3 * 3)
    assert found[0] == Setting("ddim", 1, 1) and found[-1] == Setting("ddpm", 50, 5)
    # DPM-Solver++ is DDIM with one or two steps.
    assert {setting.steps for setting in found if setting.sampler == "dpm++"} == {4, 10, 50}
    # And so is DDPM with one: it ends without noise.
    assert {setting.steps for setting in found if setting.sampler == "ddpm"} == {2, 4, 10, 50}


class Recorded:
    """Stands for training and measuring: what was asked for is written down, the Dice is made of the setting."""

    def __init__(self, monkeypatch, tmp_path):
        self.trained, self.measured, self.stop_after, self.measured_before = [], [], None, 0
        self.workdir = tmp_path / "runs"
        (tmp_path / "lungs").mkdir()
        monkeypatch.setattr(steps, "this_machine", lambda: {"device": "a machine", "platform": "cpu"})
        monkeypatch.setattr(steps, "train_for_budget", self.train)
        monkeypatch.setattr(steps.Segmenter, "load", lambda folder: folder)
        monkeypatch.setattr(steps, "measure", self.measure)
        monkeypatch.setattr(steps, "draw_curves", lambda folder, rows: [])
        self.output = tmp_path / "steps.json"
        self.fixed = ["--data", str(tmp_path / "lungs"), "--budget", "9", "--size", "64", "--output", str(self.output)]
        self.fixed += ["--workdir", str(self.workdir)]

    def train(self, run, workdir, say):
        assert not self.measured[self.measured_before :], "measuring holds the device that training needs"
        self.trained.append(run)

    def measure(self, curve, setting, segmenter, folder):
        if len(self.measured) == self.stop_after:
            raise KeyboardInterrupt
        assert folder == curve.run.folder(self.workdir)
        self.measured.append((curve.target, setting))
        return {
            **curve.about(setting),
            "n": 9,
            "evaluations": setting.steps * setting.samples,
            "dice_mean": 1 - 1 / (1 + setting.steps * setting.samples),
            "seconds_per_image": 0.01 * setting.steps * setting.samples,
        }

    def call(self, *more):
        self.measured_before = len(self.measured)
        return steps.main([*self.fixed, *more])

    def rows(self):
        return json.loads(self.output.read_text())["rows"]


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    return Recorded(monkeypatch, tmp_path)


def test_one_training_a_target_and_all_settings_of_each(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "draw_curves", draw_curves)
    assert recorded.call() == 0
    assert [(run.system, run.overrides) for run in recorded.trained] == [
        ("lightweight_ddim", ()),
        (
            "lightweight_ddim",
            ("--config.diffusion.prediction=v", "--config.diffusion.loss=mse", "--config.sample.clip_x0=1"),
        ),
        ("lightweight_ddim_noise", ()),
    ]
    every = [(target, setting) for target in ("x0", "v", "noise") for setting in settings()]
    assert recorded.measured == every
    assert [(r["target"], r["sampler"], r["steps"], r["samples"]) for r in recorded.rows()] == [
        (target, *setting) for target, setting in every
    ]
    with Image.open(tmp_path / "steps_lungs_64_a-machine_9s.png") as picture:
        assert picture.width > 1000
    # With everything there, nothing is trained again.
    assert recorded.call() == 0 and len(recorded.trained) == 3


def test_interrupted_it_goes_on_and_changed_settings_are_measured_anew(recorded):
    recorded.stop_after = 5
    with pytest.raises(KeyboardInterrupt):
        recorded.call("--targets", "x0")
    assert len(recorded.rows()) == 5
    recorded.stop_after = None
    assert recorded.call("--targets", "x0") == 0
    count = len(list(settings()))
    assert len(recorded.measured) == len(set(recorded.measured)) == len(recorded.rows()) == count
    assert recorded.call("--targets", "x0", "--config.train.learning_rate=0.1") == 0
    assert len(recorded.measured) == 2 * count and len(recorded.rows()) == count
    assert recorded.call("--targets", "x0", "--limit", "3", "--config.train.learning_rate=0.1") == 0
    assert len(recorded.rows()) == 2 * count


def test_full_networks_want_a_gpu(recorded, capsys):
    """The rule is that of Table 1."""
    with pytest.raises(SystemExit) as stopped:
        recorded.call("--networks", "full", "--targets", "x0")
    assert stopped.value.code == 2 and not recorded.trained
    assert "--networks full needs a GPU, and JAX finds a cpu (a machine)" in capsys.readouterr().err
    assert recorded.call("--networks", "full", "--targets", "x0", "--any-device") == 0
    assert [run.networks for run in recorded.trained] == ["full"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--stepz", "3"], "--stepz"),
        (["--budget", "0"], "--budget"),
        (["--limit", "0"], "--limit"),
        (["--targets", "y"], "'y'"),
        (["--data", "nowhere"], "nowhere is not a folder"),
    ],
)
def test_refused(more, said, recorded, capsys):
    with pytest.raises(SystemExit) as stopped:
        recorded.call(*more)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert not recorded.trained
