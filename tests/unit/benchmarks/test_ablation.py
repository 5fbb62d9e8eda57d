"""A config with and without a change: what is trained, and the paired figures, against hand computation."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import ablation, trainings
from benchmarks.render import rendered
from benchmarks.result_file import read_rows
from configs import folder
from ddim_jax.config import without_paths
from ddim_jax.runtime.errors import InputError

PAGE = "<!-- table: ablations -->\n<!-- end -->"
DICE = {  # of two test images, by (seed, with the change)
    (0, False): [0.50, 0.70],
    (1, False): [0.60, 0.80],
    (0, True): [0.60, 0.70],
    (1, True): [0.65, 0.85],
}


def test_a_change_is_made_in_the_field_alone():
    config = ablation.changed(folder.get_config(), "model.overrides.attention=dual")
    assert config.model.overrides.attention == "dual"
    config.model.overrides.attention = None
    assert config.to_dict() == folder.get_config().to_dict()
    assert ablation.changed(folder.get_config(), "train.adversarial_epsilon=0.0078").train.adversarial_epsilon == 0.0078


@pytest.mark.parametrize(
    "change",
    ["train.stepps=3", "trane.steps=3", "train.steps", "train.steps.few=3", "=3", "train=3", "train={'steps': 3}"],
)
def test_a_field_that_is_not_there_is_refused(change):
    with pytest.raises(InputError, match="expected FIELD=VALUE"):
        ablation.changed(folder.get_config(), change)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("train.learning_rate=fast", "train.learning_rate=fast; expected a value of another type"),
        ("train.batch_size=1e3", "train.batch_size=1e3; expected a value of another type"),
        ("train.gradient_clip={[]: 1}", "expected a value of another type"),
        *((f"{field}=1", f"the options of this command decide {field}") for field in (
            "seed", "model.name", "data.name", "data.root", "data.image_size", "data.rotation_degrees", "train.steps",
            "train.epochs", "train.checkpoint_every")),
        *((f"{field}=/home/a", "a path would be published") for field in (
            "train.init_from", "data.unlabelled", "data.cache_dir")),
        ("train.beta1=1.5", "train.beta1"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_before_anything_is_trained(change, told, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablation, "row_of", None)
    with pytest.raises(SystemExit) as stopped:
        ablation.main(["--change", change, "--data", str(tmp_path)])
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err


def test_the_paths_that_are_refused_are_all_that_a_config_is_published_without():
    config = {"data": {"root": "a", "cache_dir": "a", "unlabelled": "a", "crop": 1}, "train": {"init_from": "a"}}
    cleared = without_paths(config)
    fields = [f"{part}.{name}" for part in config for name in config[part] if cleared[part][name] != config[part][name]]
    assert set(fields) == {"data.root", *ablation._PATHS}


def test_two_folders_of_one_name_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        ablation.main(["--change", "train.beta1=0.8", "--data", "a/polyp", "b/polyp"])
    assert stopped.value.code == 2
    assert "['polyp', 'polyp'] are not distinct" in capsys.readouterr().err


def test_the_interval_of_a_constant_difference_is_a_point_and_that_of_seeds_is_as_wide_as_they_differ():
    assert ablation.paired_interval(np.full((3, 10), 0.02)) == pytest.approx((0.02, 0.02))
    # One seed gains .1 on every image, the other nothing: a quarter of the resamples has none of the first.
    assert ablation.paired_interval(np.array([[0.1] * 5, [0.0] * 5])) == pytest.approx((0.0, 0.1))


def test_a_row_pairs_pictures_and_seeds(tmp_path, monkeypatch):
    trained = []

    def fake_train(config, run):
        trained.append((config.seed, config.model.overrides.attention, config.train.steps, Path(run).name))
        run.mkdir(parents=True, exist_ok=True)
        return config.train.steps

    def fake_evaluate(run, split, *, output_dir):
        seed, change = next((seed, attention) for seed, attention, _, name in trained if name == run.name)
        values = DICE[seed, change == "dual"]
        output_dir.mkdir(exist_ok=True)
        lines = [f"{name},{value}\n" for name, value in zip("ab", values, strict=True)]
        if change:  # in another order: images are paired by name
            lines.reverse()
        (output_dir / "per_image.csv").write_text("id,dice\n" + "".join(lines))
        (output_dir / "metrics.json").write_text('{"images": 2, "groups": 2}')
        return {"protocols": {"mean": {"per_image": {"dice": {"mean": values[0]}}}}}, None

    monkeypatch.setattr(trainings, "train", fake_train)
    monkeypatch.setattr(ablation, "evaluate_checkpoint", fake_evaluate)
    monkeypatch.setattr(ablation, "ratio", lambda mine, other, repeats: mine / other)
    dual = {"dual": 5, None: 4}
    for name, cost in (("training_step", float), ("evaluation", lambda a: 3 * a), ("parameters", lambda a: 10_000 * a)):
        of_config = lambda config, cost=cost: cost(dual[config["model"]["overrides"].get("attention")])  # noqa: E731
        monkeypatch.setattr(ablation, name, of_config)
    output = tmp_path / "docs/results/ablations.json"
    output.parent.mkdir(parents=True)
    arguments = ["--change", "model.overrides.attention=dual", "--data", tmp_path / "polyp", "--seeds", 0, 1]
    arguments += ["--system", "lightweight_ddim", "--steps", 200, "--size", 32, "--workdir", tmp_path / "runs"]
    arguments = [str(one) for one in [*arguments, "--output", output]]
    assert ablation.main(arguments) == 0
    assert [(seed, attention, steps) for seed, attention, steps, _ in trained] == [
        (0, None, 200), (1, None, 200), (0, "dual", 200), (1, "dual", 200)
    ]  # fmt: skip
    assert len({name for *_, name in trained}) == 4
    (row,) = read_rows(output)
    assert row["dice"] == pytest.approx([0.65, 0.70])
    assert np.allclose(row["dice_of_seeds"], [[0.6, 0.7], [0.65, 0.75]])
    assert row["gain"] == pytest.approx(0.05)  # .1, 0, .05, .05
    assert row["gain_ci"][0] < 0.05 < row["gain_ci"][1]
    assert row["dice_val"] == pytest.approx([0.55, 0.625])
    assert (row["parameters"], row["train_step_ratio"], row["evaluation_ratio"]) == ([40_000, 50_000], 1.25, 1.25)
    assert row["rotation"] == 20.0
    page = rendered(PAGE, tmp_path)
    interval = "[{:+.3f}, {:+.3f}]".format(*row["gain_ci"])
    about = "| `model.overrides.attention=dual` | polyp | `lightweight_ddim` | 32 | 20 | 200 | 2 | +0.075 | 2 |"
    assert f"{about} 0.650 | 0.700 | +0.050 {interval} | 40,000 + 10,000 | 1.25 | 1.25 |" in page

    for more in ([], ["--rotation", "180"], ["--seeds", "0"]):  # the first replaces its row, the others are rows more
        assert ablation.main([*arguments, *more]) == 0
    found = [(row["rotation"], row["seeds"]) for row in read_rows(output)]
    assert found == [(20.0, [0, 1]), (180.0, [0, 1]), (20.0, [0])]
    assert len({name for *_, name in trained}) == 8
