"""The rows, tables and figure of networks scored on corrupted and on attacked images."""

import json

import jax
import numpy as np
import pytest
from PIL import Image
from segmenters import SIZE, red_network

from benchmarks.quality import robustness, robustness_tables
from benchmarks.quality.corruptions import CORRUPTIONS, SEVERITIES
from benchmarks.render import rendered
from benchmarks.result_file import merged
from ddim_jax.runtime.errors import InputError


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A network with several steps, whose test split are images with the truth in red."""
    folder, rng = tmp_path / "red", np.random.default_rng(0)
    for number in range(5):
        mask = np.zeros((24, 20), np.uint8)
        mask[4 : 12 + number, 3:15] = 255
        image = np.where(mask[..., None], np.uint8([190, 80, 60]), np.uint8([70, 80, 60]))
        for kind, pixels in (("images", image + rng.integers(0, 20, image.shape, np.uint8)), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    network = red_network(steps=2, samples=2)
    monkeypatch.setattr(robustness, "load_network", lambda *given: network)
    monkeypatch.setattr(robustness, "CORRUPTIONS", {name: CORRUPTIONS[name] for name in ("noise", "contrast")})
    monkeypatch.setattr(robustness, "EPSILONS", (1, 4))
    return network, folder


def test_rows_tables_and_figure(checkpoint, tmp_path, capsys):
    _, folder = checkpoint
    output = tmp_path / "docs/results/robustness.json"
    output.parent.mkdir(parents=True)
    arguments = ["--ckpt", "run", "--data-root", str(folder), "--count", "4", "--attacked", "3"]
    arguments += ["--output", str(output)]
    assert robustness.main(arguments) == 0
    rows = json.loads(output.read_text())["rows"]
    assert len(rows) == 1 + 2 * 5 + 2 * 2 * 2
    assert {(row["dataset"], row["n"], row["steps"], row["through"] is None) for row in rows} == {
        ("red", 4, 2, True),
        ("red", 3, 2, False),
    }
    clean = rows[0]
    assert (clean["change"], clean["share"], clean["lost"], clean["flagged"]) == ("none", 1.0, 0.0, None)
    assert clean["dice_mean"] > 0.95
    by = {(row["change"], row["through"], row["severity"]): row for row in rows}
    flat = by["contrast", None, 5]
    assert flat["dice_mean"] < clean["dice_mean"] and flat["lost"] == pytest.approx(
        clean["dice_mean"] - flat["dice_mean"]
    )
    assert by["pgd", "one step", 4]["lost"] >= 0 and by["fgsm", "sampler", 1]["share"] <= 1
    assert (output.parent / "robustness_red.png").stat().st_size > 10_000

    # Another size and another training of these images have rows of their own: one set replaced the other.
    for other in ({"size": 2 * clean["size"]}, {"stem": 4}, {"train_steps": 900}, {"packaged": True}):
        others = [row | other for row in rows]
        assert len(merged(rows, others, robustness.IDENTITY)) == 2 * len(rows)


def test_a_row_says_how_long_the_training_was_and_if_it_is_the_packaged_one(checkpoint):
    network, folder = checkpoint
    assert network.config["train"]["steps"] != network.step
    for begun, names in ((None, {"polyp": True, "runs/polyp": False}), (("runs/polyp", 0.5), {"polyp": False})):
        for name, packaged in names.items():
            rows = robustness.rows_of(name, folder, 1, 1, {}, lambda line: None, begun)
            assert {(row["train_steps"], row["step"], row["packaged"]) for row in rows} == {
                (network.config["train"]["steps"], network.step, packaged)
            }


def test_the_step_and_the_split_are_those_that_are_asked_for(checkpoint, monkeypatch, tmp_path):
    network, folder = checkpoint
    stems = [path.stem for path in sorted((folder / "images").iterdir())]
    (folder / "splits.csv").write_text(
        "stem,split\n" + "".join(f"{s},{'val' if s in '01' else 'test'}\n" for s in stems)
    )
    asked = []

    def load(ckpt, step, *given):
        asked.append((ckpt, step))
        return network._replace(step=7 if step == "latest" else 5)

    monkeypatch.setattr(robustness, "load_network", load)
    output, arguments = tmp_path / "rows.json", ["--ckpt", "run", "--data-root", str(folder), "--attacked", "1"]
    for more in ([], ["--split", "val"], ["--split", "val", "--checkpoint-step", "latest"]):
        assert robustness.main([*arguments, *more, "--output", str(output)]) == 0
        figure = output.with_name("rows_red.png")
        assert figure.exists() != bool(more)
        figure.unlink(missing_ok=True)
    assert asked == [("run", "best"), ("run", "best"), ("run", "latest")]
    clean = [row for row in json.loads(output.read_text())["rows"] if row["change"] == "none"]
    assert [(row["split"], row["step"], row["n"]) for row in clean] == [("test", 5, 3), ("val", 5, 2), ("val", 7, 2)]


def test_weights_between_two_networks_by_hand(checkpoint, tmp_path, capsys):
    network, folder = checkpoint
    first = network._replace(params={"gain": np.float32(1.0), "bias": np.float32(0.0)})
    second = network._replace(params={"gain": np.float32(3.0), "bias": np.float32(-1.0)}, calibration={})
    found = robustness.interpolated(first, second, 0.75)
    assert jax.tree.map(float, found.params) == {"gain": 2.5, "bias": -0.75}
    assert found.calibration is None and found.weights not in (first.weights, second.weights)
    with pytest.raises(InputError, match="have other weights"):
        robustness.interpolated(first._replace(params={"gain": np.zeros(2)}), second, 0.5)
    with pytest.raises(InputError, match=r"the share is 1\.5"):
        robustness.interpolated(first, second, 1.5)
    # Beside the rows of the network itself.
    output, arguments = tmp_path / "rows.json", ["--ckpt", "run", "--data-root", str(folder), "--count", "1"]
    for more in ([], ["--begun", "run", "--share", "0.5"]):
        assert robustness.main([*arguments, *more, "--attacked", "1", "--output", str(output)]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [row["interpolated"] for row in rows if row["change"] == "none"] == [1, 0.5]
    for alone in (["--begun", "run"], ["--share", "0.5"]):
        with pytest.raises(SystemExit):
            robustness.main([*arguments, *alone])
        assert "--begun and --share go together" in capsys.readouterr().err


def test_only_networks_of_one_size_are_attacked(checkpoint, monkeypatch, capsys):
    network, folder = checkpoint
    cropped = network._replace(config=network.config | {"data": network.config["data"] | {"crop": SIZE}})
    monkeypatch.setattr(robustness, "load_network", lambda *given: cropped)
    with pytest.raises(SystemExit):
        robustness.main(["--ckpt", "run", "--data-root", str(folder)])
    assert "segments at the size 'tiles'; expected 'model'" in capsys.readouterr().err


def test_images_of_fewer_groups_are_refused(checkpoint, capsys):
    _, folder = checkpoint
    (folder / "splits.csv").write_text("stem,split,group\n" + "".join(f"{n},test,{n // 2}\n" for n in range(5)))
    with pytest.raises(SystemExit):
        robustness.main(["--ckpt", "run", "--data-root", str(folder)])
    assert "red: 5 images of 3 groups (patients, folders, volumes); expected one" in capsys.readouterr().err


def test_figures_of_a_row_by_hand():
    clean = [robustness.Judged(dice, 0.1, None) for dice in (0.9, 0.8, 1.0, 0.9)]
    changed = [
        robustness.Judged(*row) for row in ((0.9, 0.1, True), (0.2, 0.6, False), (0.5, 0.4, True), (0.8, 0.2, False))
    ]
    found = robustness.figures_of(changed, clean)
    assert found["dice_mean"] == pytest.approx(0.6) and found["share"] == pytest.approx(0.6 / 0.9)
    assert found["lost"] == pytest.approx(0.3) and found["lost_ci"][0] <= 0.3 <= found["lost_ci"][1]
    assert found["doubt_correlation"] == pytest.approx(-1) and found["flagged"] == 0.5
    assert found["doubt_clean"] == pytest.approx(0.1) and found["doubt_mean"] == pytest.approx(0.325)


def test_the_page_has_the_packaged_networks_the_unets_and_what_was_trained_on_attacks(tmp_path, monkeypatch):
    monkeypatch.setattr(robustness_tables, "CORRUPTIONS", {"contrast": CORRUPTIONS["contrast"]})
    rows = []

    def add(dice, *, through=None, **about):
        scores = {"dice_mean": dice, "share": 0.5, "lost": 0.25, "lost_ci": [0.2, 0.3], "doubt_mean": 0.125}
        scores |= {"doubt_clean": 0.1, "doubt_correlation": None, "flagged": None, "n": 6}
        network = {"dataset": "polyp", "system": "trunk_ddim", "size": 128, "seed": 0, "train_steps": 9, "steps": 1}
        network |= {
            "augmentation": "strong, 0.5 empty windows, 0.1 erased",
            "adversarial_epsilon": 0.0,
            "adversarial_share": 1.0,
            "interpolated": 1.0,
            "packaged": False,
            "stem": 2,
            "step": 9,
            "split": "test",
        }
        for change, severity in (("none", 0), *(("contrast", k) for k in SEVERITIES), ("fgsm", 2), ("pgd", 2)):
            own = network | about | {"change": change, "severity": severity, "through": through}
            pgd = change == "pgd"
            rows.append(own | scores | {"dice_mean": dice - severity / 100 - pgd / 1000, "n": 4 if pgd else 6})

    add(0.9, packaged=True)
    add(0.8, packaged=True, steps=4)
    add(0.85, train_steps=90)  # trained as the packaged one, but for longer
    add(0.7, system="unet", augmentation="strong", size=64)
    add(0.6, augmentation="strong", size=64)
    add(0.5, augmentation="strong", size=64, adversarial_epsilon=0.0078, adversarial_share=0.25)
    for split, dice in (("test", 0.4), ("val", 0.3)):
        between = {"adversarial_epsilon": 0.0078, "adversarial_share": 0.25, "interpolated": 0.7}
        add(dice, augmentation="strong", size=64, split=split, **between)
    add(0.95, packaged=True, split="val")
    (tmp_path / "docs/results").mkdir(parents=True)
    (tmp_path / "docs/results/robustness.json").write_text(json.dumps({"rows": rows}))

    def lines(part):
        page = rendered(f"<!-- table: robustness{part} -->\n<!-- end -->\n", tmp_path)
        return [line for line in page.splitlines() if line.startswith("| polyp")]

    ours, plain = "| polyp | `trunk_ddim`, 0.5 empty windows, 0.1 erased | 128 | 6 |", "| polyp | `unet` | 64 | 6 |"
    rest = "0.50 | 0.250 [0.200, 0.300] | 0.125 |"
    assert lines("") == [
        f"{ours} none | 0.900 | {rest}  |  |",
        f"{ours} contrast | 0.870 | {rest}  |  |",
        f"{plain} none | 0.700 | {rest}  |  |",
        f"{plain} contrast | 0.670 | {rest}  |  |",
    ]
    assert lines("-attacks") == [
        f"{one.replace('| 6 |', '| 4 |')} 2/255 | {dice} | {rest} 0.100 |"
        for one, dice in ((ours, 0.879), (plain, 0.679))
    ]
    trained = "| polyp | `trunk_ddim` | 64 | 0 | 9 |"
    assert lines("-adversarial") == [
        f"{trained} none | 6 | 4 | 0.600 |  | 0.579 |  | 0.560 |  |  |",
        f"{trained} 25%, weights 0.7 of the way | 6 | 4 | 0.400 |  | 0.379 |  | 0.360 | 0.300 | 0.279 |",
        f"{trained} 25% | 6 | 4 | 0.500 |  | 0.479 |  | 0.460 |  |  |",
    ]
