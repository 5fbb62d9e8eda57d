"""A config with and without a change: what is trained, and the paired figures, against hand computation."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import ablation
from benchmarks.render import rendered
from benchmarks.result_file import read_rows
from configs import folder
from ddim_jax.runtime.errors import InputError

DICE = {  # of two test pictures, by (seed, with the change)
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


@pytest.mark.parametrize("change", ["train.stepps=3", "trane.steps=3", "train.steps", "train.steps.few=3", "=3"])
def test_a_field_that_is_not_there_is_refused(change):
    with pytest.raises(InputError, match="expected FIELD=VALUE"):
        ablation.changed(folder.get_config(), change)


def test_the_interval_of_a_constant_difference_is_a_point_and_that_of_seeds_is_as_wide_as_they_differ():
    assert ablation.paired_interval(np.full((3, 10), 0.02)) == pytest.approx((0.02, 0.02))
    # One seed gains .1 on every picture, the other nothing: a quarter of the resamples has none of the first.
    assert ablation.paired_interval(np.array([[0.1] * 5, [0.0] * 5])) == pytest.approx((0.0, 0.1))


def test_a_row_pairs_pictures_and_seeds(tmp_path, monkeypatch):
    trained = []

    def fake_train(config, run):
        trained.append((config.seed, config.model.overrides.attention, config.train.steps, Path(run).name))
        run.mkdir(parents=True)
        return config.train.steps

    def fake_evaluate(run, split, *, output_dir):
        seed, change = next((seed, attention) for seed, attention, _, name in trained if name == run.name)
        values = DICE[seed, change == "dual"]
        output_dir.mkdir()
        lines = [f"{name},{value}\n" for name, value in zip("ab", values, strict=True)]
        if change:  # in another order: pictures are paired by name
            lines.reverse()
        (output_dir / "per_image.csv").write_text("id,dice\n" + "".join(lines))
        return {"protocols": {"mean": {"per_image": {"dice": {"mean": values[0]}}}}}, None

    monkeypatch.setattr(ablation, "train", fake_train)
    monkeypatch.setattr(ablation, "evaluate_checkpoint", fake_evaluate)
    monkeypatch.setattr(ablation, "ratio", lambda mine, other, repeats: mine / other)
    dual = {"dual": 5, None: 4}
    for name, cost in (("training_step", lambda a: (a, 10_000 * a)), ("evaluation", lambda a: 3 * a)):
        of_config = lambda config, cost=cost: cost(dual[config["model"]["overrides"].get("attention")])  # noqa: E731
        monkeypatch.setattr(ablation, name, of_config)
    output = tmp_path / "docs/results/ablations.json"
    output.parent.mkdir(parents=True)
    arguments = ["--change", "model.overrides.attention=dual", "--data", tmp_path / "polyp", "--seeds", 0, 1]
    arguments += ["--system", "lightweight_ddim", "--steps", 200, "--size", 32, "--workdir", tmp_path / "runs"]
    assert ablation.main([str(one) for one in [*arguments, "--output", output]]) == 0
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
    page = rendered("<!-- table: ablations -->\n<!-- end -->", tmp_path)
    interval = "[{:+.3f}, {:+.3f}]".format(*row["gain_ci"])
    assert f"| 0.650 | 0.700 | +0.050 {interval} | 40,000 + 10,000 | 1.25 | 1.25 |" in page
