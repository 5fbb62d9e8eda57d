"""Times of a config's network: which step is timed, and the ratio against hand computation."""

import json

import pytest

from benchmarks.quality import costs
from benchmarks.render import rendered
from configs import folder
from ddim_jax.config import resolve_config


def config_of(system="trunk_ddim", **fields):
    config = folder.get_config()
    config.model.name, config.data.image_size = system, 64
    for field, value in fields.items():
        section, name = field.split("__")
        config[section][name] = value
    return resolve_config(config)


def test_the_ratio_is_that_of_the_medians_of_calls_in_turns(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(costs.time, "perf_counter", lambda: clock[0])

    def call(name, times):
        times = iter(times)

        def once():
            order.append(name)
            clock[0] += next(times)

        return once

    mine = call("mine", [9.0, *[1.0] * 5, *[3.0] * 5, *[50.0] * 5])
    other = call("other", [9.0, *[2.0] * 5, *[1.0] * 5, *[4.0] * 5])
    assert costs.ratio(mine, other, 3) == 3.0 / 2.0
    turns = [("mine", "other"), ("other", "mine"), ("mine", "other")]
    assert order == ["mine", "other", *(name for turn in turns for name in turn for _ in range(5))]


def test_the_step_that_is_timed_is_the_one_that_the_config_trains_with(monkeypatch):
    given = {}

    def make_train_step(model, process, optimiser, mesh, options):
        given.update(optimiser._asdict() | vars(options))

    monkeypatch.setattr(costs, "make_train_step", make_train_step)
    monkeypatch.setattr(costs, "create_state", lambda *_: None)
    fields = {"accumulate": 2, "beta1": 0.8, "beta2": 0.99, "gradient_clip": 0.5}
    attacks = {"adversarial_epsilon": 0.0078, "adversarial_share": 0.5}
    config = config_of(**{f"train__{name}": value for name, value in (fields | attacks).items()})
    assert costs.training_step(config) and given["adversary"] == (0.0078, 0.5)
    assert fields.items() <= given.items() and given["ema_decay"] == config_of()["train"]["ema_decay"]


@pytest.mark.parametrize("field", ["data__crop", "data__unlabelled"])
def test_what_is_not_timed_has_no_ratio(field):
    config = config_of(**{field: 64 if field == "data__crop" else "somewhere"})
    assert costs.training_step(config) is None
    assert costs.ratio(print, None, 3) is None and costs.ratio(None, print, 3) is None
    if field == "data__crop":
        assert costs.evaluation(config) is None


def test_rows_and_table(tmp_path, monkeypatch, capsys):
    asked = []

    def ratio(mine, other, repeats):
        asked.append((mine, other, repeats))
        return 1.25 if mine[1] == "trunk_ddim" else 0.984

    monkeypatch.setattr(costs, "ratio", ratio)
    for kind in ("training_step", "evaluation"):
        monkeypatch.setattr(costs, kind, lambda config, kind=kind: (kind, config["model"]["name"], config["sample"]))
    output = tmp_path / "docs/results/costs.json"
    output.parent.mkdir(parents=True)
    arguments = ["--systems", "trunk_ddim", "unet", "--inputs", "64/2", "--repeats", "7", "--output", str(output)]
    assert costs.main(arguments) == 0 and capsys.readouterr().out.startswith("trunk_ddim, 64/2: 1.25, 1.250\n")
    assert [(mine[:2], other[:2], repeats) for mine, other, repeats in asked[:3]] == [
        ((kind, "trunk_ddim"), (kind, "unet"), 7) for kind in ("training_step", "training_step", "evaluation")
    ]
    asked.clear()
    assert costs.main(["--systems", "trunk_ddim", *arguments[3:], "--evaluations", "250"]) == 0
    ((_, _, mine), (_, _, other), _), *more = asked
    assert [[side[name] for name in ("steps", "samples", "flips")] for side in (mine, other)] == [
        [50, 5, False],
        [1, 1, False],
    ] and not more
    rows = json.loads(output.read_text())["rows"]
    assert [(row["system"], row["size"], row["evaluations"], row["train_step"], row["image"]) for row in rows] == [
        ("trunk_ddim", 64, 4, 1.25, 1.25),
        ("unet", 64, 4, 0.984, 0.984),
        ("trunk_ddim", 64, 250, None, 1.25),
    ]
    page = rendered("<!-- table: costs -->\n<!-- end -->\n", tmp_path)
    assert (
        "| `trunk_ddim` | 64 / 2 | 4 | 1.25 | 1.25 | 1.25 |  |\n| `unet` | 64 / 2 | 4 | 0.98 | 0.98 | 0.98 |  |" in page
    )
    assert "| `trunk_ddim` | 64 / 2 | 250 |  |  |  | 1.2 |\n" in page
