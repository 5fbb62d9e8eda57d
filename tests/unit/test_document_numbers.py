"""The figures in the pages that are written by hand are those of the committed result files.

Of each kind of figure that a page has, every one is looked for: one that no file gives is an error, and one that is
missing as well.
"""

import json
import math
import re
from pathlib import Path

import jax
import pytest

from benchmarks.speed.bars import bars_of
from benchmarks.quality.paper_figures import TABLE_2
from ddim_jax.diffusion import linear_schedule
from ddim_jax.models import create_model, example_inputs
from ddim_jax.training.state import parameter_count

ROOT = Path(__file__).parents[2]
SETS = ("lung_xray", "skin_lesion", "polyp")
LIGHT, NOISE = "lightweight_ddim", "lightweight_ddim_noise"
LIGHTS = [(LIGHT, name) for name in SETS]


def text_of(document):
    return " ".join((ROOT / document).read_text(encoding="utf-8").split())


def result(path):
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def cells_of(document, start):
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def short(value, digits=4):
    """Without the zero before the point."""
    return f"{value:.{digits}f}".replace("0.", ".", 1)


@pytest.fixture(scope="module")
def cpu():
    """A row of the CPU suite by case, network, side and batch."""
    rows = result("benchmarks/results/cpu.json")["rows"]
    return lambda *asked: next(
        row for row in rows if (row["case"], row["model"], row["side"], row["batch"]) == asked and row["runs"]
    )


def milliseconds(case, lowering, file="grouped_conv_cpu.json"):
    rows = result(f"benchmarks/results/{file}")["rows"]
    (row,) = [row for row in rows if (row["case"], row["lowering"]) == (case, lowering)]
    return f"{row['forward_ms']:.1f} ms", f"{row['backward_ms']:.0f} ms", f"{row['backward_ms']:.1f} ms"


def test_every_time_and_share_of_the_performance_page(cpu):
    text = text_of("docs/performance.md")
    even, narrow = [1, 64, 128, 128, 16], [1, 64, 256, 128, 32]
    native, blocks, kernels = (
        milliseconds(even, name) for name in ("native", "supergroups of 32 channels", "compiled kernels")
    )
    wide = [milliseconds(narrow, f"supergroups of {width} channels")[2] for width in (32, 64)]
    small = milliseconds(narrow, "compiled kernels")
    lowerings = ("compiled kernels", "supergroups of 32 channels")
    avx2 = [milliseconds(even, name, "grouped_conv_avx2.json") for name in lowerings]
    light, standard = (cpu("forward", name, "ours", 1) for name in (LIGHT, "ddim"))
    ours, eager = (cpu("train_step", "ddim", side, 4) for side in ("ours", "torch_eager"))
    shares = [100 * row["roofline_fraction"] for row in (light, cpu("forward", LIGHT, "ours", 8), ours, eager)]
    # Of the U-Net at 256 x 256: side after upsampling and channels of the five convolutions, two operations a product.
    upsampled = sum(2 * side**2 * 9 * width**2 for side, width in zip(SIDES, WIDTHS, strict=True)) / light["flops"]
    phrases = [
        f"({light['flops'] / 1e9:.1f} against {standard['flops'] / 1e9:.1f} GFLOP for one 256 x 256 picture)",
        f"{native[0]} forward and {native[1]} for both gradients",
        f"supergroups of 32 channels: {blocks[0]} and {blocks[2]}.",
        f"takes {wide[0]} backward with 32 input channels to a supergroup, {wide[1]} with 64.",
        f"for the case above: {kernels[0]} forward and {kernels[2]} for both gradients.",
        f"take {small[0]} forward at 64 x 64 and {small[2]} for both gradients",
        f"for the 128 channels above {avx2[0][0]} forward and {avx2[0][2]} for both gradients, where supergroups of 32 "
        f"channels take {avx2[1][0]} and {avx2[1][2]}.",
        f"so this removes {100 * upsampled * 5 / 9:.0f}% of it, exactly.",
        f"*Expected*: {100 * upsampled * 5 / 9:.0f}% off the time.",
        f"reaches {shares[0]:.0f}% of the machine's ceiling at one picture and {shares[1]:.0f}% at eight.",
        f"{ours['median_s']:.1f} s a step against eager PyTorch's {eager['median_s']:.1f} s, at {shares[2]:.0f}% and "
        f"{shares[3]:.0f}% of the machine's ceiling.",
    ]
    assert round(2 * upsampled, 1) == 1.0  # "half of the light network's arithmetic"
    for phrase in phrases:
        assert text.count(phrase) == 1, phrase
        text = text.replace(phrase, "")
    assert re.findall(r"[\d.]+ ?(?:ms|s|%|GFLOP|GFLOP/s|GB/s)(?![\w%])|\d\*", text) == []


SIDES, WIDTHS = (16, 32, 64, 128, 256), (512, 512, 256, 256, 128)


def test_what_the_performance_page_says_in_words(cpu):
    text = text_of("docs/performance.md")
    paper = float(TABLE_2["ddim_noise"]["seconds"]) / float(TABLE_2[NOISE]["seconds"])
    assert f"in the paper it is only {paper:.2f} times faster" in text
    (bar,) = (
        bar for bar in bars_of(result("benchmarks/results/cpu.json")) if bar.promise == "light forward: time of ddim's"
    )
    assert f"measured, {bar.value:.3f} of it" in text and bar.verdict == "**missed**"
    # "already run at the speed of the fastest matrix product"
    assert cpu("forward", "ddim", "ours", 1)["roofline_fraction"] > 0.95
    # "Every other timed case of either network is faster than eager PyTorch in the same run."
    rows = result("benchmarks/results/cpu.json")["rows"]
    cases = {}
    for row in rows:
        cases.setdefault((row["case"], row["model"], row["batch"], row["steps"]), {})[row["side"]] = row["median_s"]
    slower = [case for case, of in cases.items() if "torch_eager" in of and of["ours"] > of["torch_eager"]]
    assert slower == [("train_step", "ddim", 4, None)]
    # README: the compiled kernels are "more than twice as fast".
    for case, batch in (("forward", 1), ("train_step", 4)):
        assert (
            cpu(case, LIGHT, "ours_without_kernels", batch)["median_s"]
            > 2 * cpu(case, LIGHT, "ours", batch)["median_s"]
        )


@pytest.fixture(scope="module")
def table1():
    """{(system, data set): row} of the protocol 'mean'."""
    rows = result("docs/results/table1.json")["rows"]
    return {(row["system"], row["dataset"]): row for row in rows if row["protocol"] == "mean"}


def column(table1, system, field="dice_mean"):
    return [table1[system, name][field] for name in SETS]


def one_evaluation():
    found = [result(f"docs/results/one_evaluation/{name}.json") for name in SETS]
    assert all(metrics["network_evaluations_per_image"] == 1 for metrics in found)
    return [metrics["protocols"]["mean"]["per_image"]["dice"]["mean"] for metrics in found]


def test_the_tables_of_the_few_steps_page(table1):
    page = "docs/few_steps.md"
    four, one, unet = column(table1, LIGHT), column(table1, LIGHT, "dice_single"), column(table1, "unet")
    noise = column(table1, NOISE)
    assert cells_of(page, "the paper's way: noise, 50 steps x 5 samples") == list(map(short, noise))
    assert cells_of(page, "`fast.py`: mask, 1 step x 4 mirrored samples") == list(map(short, four))
    assert cells_of(page, "one of these samples alone, 1 evaluation") == list(map(short, one))
    assert cells_of(page, "plain U-Net, 4 mirrored passes") == list(map(short, unet))

    def judged(good, value, sign=""):
        return f"{'met' if good else '**missed**'}, {sign}{short(abs(value), 3)}"

    pairs = list(zip(four, noise, strict=True))
    assert cells_of(page, "4 evaluations, not below the 250 of the paper's way") == [
        "met" if ours >= theirs else "**missed**" for ours, theirs in pairs
    ]
    lost = [a - b for a, b in zip(four, one_evaluation(), strict=True)]
    assert cells_of(page, "1 evaluation, at most .005 below the model's best") == [
        judged(value <= 0.005, value) for value in lost
    ]
    lungs, *others = column(table1, LIGHT, "ece")
    assert cells_of(page, "expected calibration error, at most .02 (lungs)") == [
        *(judged(lungs <= 0.02, lungs), *(short(value, 3) for value in others)),
    ]
    gained = [kept - dice for kept, dice in zip(column(table1, LIGHT, "kept_dice"), four, strict=True)]
    assert cells_of(page, "Dice of the surest 80%, .005 above that of all") == [
        judged(value >= 0.005, value) for value in gained
    ]
    ahead = [a - b for a, b in zip(four, unet, strict=True)]
    assert cells_of(page, "not below the U-Net of as many parameters") == [
        judged(value >= 0, value, "+" if value >= 0 else "-") for value in ahead
    ]
    enough = sum(value > 0 for value in ahead) >= 2
    assert cells_of(page, "above it on two of the three") == ["", "", "met" if enough else "**missed**"]


def test_the_sentences_of_the_few_steps_page(table1):
    text = text_of("docs/few_steps.md")
    leads = {
        lead["dataset"]: (lead["lead"], *lead["lead_ci"])
        for lead in result("docs/results/table1.json")["leads"]
        if lead["system"] == "unet"
    }
    skin, lungs, polyps = ([short(v, 3) for v in leads[name]] for name in ("skin_lesion", "lung_xray", "polyp"))
    lost = [value.removeprefix("-") for value in polyps]
    assert f"by {skin[0]} on skin lesions (95% interval of the differences {skin[1]} to {skin[2]})" in text
    assert f"even on lungs ({lungs[0]}, from {lungs[1]} to {lungs[2]})" in text
    assert f"behind by {lost[0]} on polyps ({lost[2]} to {lost[1]})" in text
    steps = {system: table1[system, "polyp"]["steps"] for system in (LIGHT, "unet")}
    assert f"the same budget buys {100 * steps[LIGHT] / steps['unet']:.0f}% as many" in text
    # "highest at a half or two thirds", "highest at the end", "at the last step of the training on all three"
    part = {key: row["picked_step"] / row["steps"] for key, row in table1.items()}
    assert all(0.499 < part[system, name] < 0.668 for system in (LIGHT, "unet") for name in SETS[:2])
    assert part[LIGHT, "polyp"] == part[NOISE, "lung_xray"] == part[NOISE, "skin_lesion"] == part[NOISE, "polyp"] == 1.0
    at_end = math.sqrt(linear_schedule().alpha_bars[-1])
    assert f"sqrt(alpha_bar_t) = {short(at_end, 3)} where sampling starts" in text
    steps, quarter = table1[LIGHT, "polyp"]["steps"] * table1[LIGHT, "polyp"]["batch_size"], 0.25**8
    shares = short(100 * 0.5**8, 1), short(100 * quarter, 4), round(steps * quarter)
    assert shares[2] == 1
    assert "{}% of them lie below T/2 and {}% below T/4, one example of the ".format(*shares[:2]) in text
    assert f"one example of the {round(steps, -3):,} in six minutes" in text
    took = [table1[system, name]["train_s"] for system in (LIGHT, "unet", NOISE) for name in SETS]
    assert f"{min(took):.0f} to {max(took):.0f} s, for the same steps" in text
    validation = {key: short(row["validation_dice"]) for key, row in table1.items()}
    assert "ahead on skin ({} to {})".format(*(validation[name, "skin_lesion"] for name in ("unet", LIGHT))) in text
    assert "on polyps ({} to {})".format(*(validation[name, "polyp"] for name in (LIGHT, "unet"))) in text
    (full,) = (row for row in result("docs/results/table2.json")["rows"] if row["system"] == LIGHT)
    assert (full["samples"], full["timed_steps"]) == (4, full["sampling_steps"])
    assert f"takes {full['seconds']:.1f} s for a picture with four evaluations on two CPU cores" in text
    assert f"the paper gives {TABLE_2[NOISE]['seconds']} s" in text


ROWS = {
    "small U-Net, 0.51 M": "small U-Net",
    "light, 24 channels, 4 levels, p = 2 (`small_x0.py`)": "light, 24 channels, 4 levels, p = 2",
    "the same with ordinary convolutions, 1.9 M": "the same with ordinary convolutions",
    "and shuffled (`fast.py`)": "and shuffled",
}
"""Lines of the table whose first cell says more than the run's name."""


def test_what_each_change_brought():
    runs = {run["run"]: run for run in result("docs/results/few_steps.json")["rows"]}
    lines = {ROWS[name]: name for name in ROWS} | {name: name for name in runs if name not in ROWS.values()}
    text, other = text_of("docs/few_steps.md"), "small U-Net, learning rate 4e-3"
    for name, run in runs.items():
        if name == other:
            assert f"(4e-3) came to {short(run['dice_mean'], 3)}" in text
            continue
        cells = cells_of("docs/few_steps.md", lines[name])
        assert cells[:3] == [str(run["steps"]), short(run["dice_mean"], 3), short(run["dice_single"], 3)], name
        assert run["samples"] == (4 if run["model"] == "unet" else 5)
    shuffled, plain = (runs[name]["dice_mean"] for name in ("and shuffled", "the same, light, p = 8"))
    assert f"What the shuffle brings, {short(round(shuffled, 3) - round(plain, 3), 3)}, is less" in text
    dice = [
        short(runs[name]["dice_mean"], 3)
        for name in ("the same with ordinary convolutions", "light, 16 channels, five levels, p = 2")
    ]
    assert (
        f"ordinary convolutions reach {dice[0]} where grouped ones, with a quarter of the weights, reach {dice[1]}"
        in text
    )


def sentences_of_the_curve():
    """The figures of three decimals below the curve's table."""
    rows = result("docs/results/steps.json")["rows"]
    dice = {name: [r["dice_mean"] for r in rows if (r["target"], r["dataset"]) == ("x0", name)] for name in SETS}
    assert [len(values) for values in dice.values()] == [36, 36, 36]
    first = {(r["target"], r["dataset"], r["sampler"], r["steps"]): r for r in rows if r["samples"] == 1}
    spread = [short(max(dice[name]) - min(dice[name]), 3) for name in SETS]
    below = [short(max(dice[name]) - first["x0", name, "ddim", 1]["dice_mean"], 3) for name in SETS]
    error = [short(first["v", "lung_xray", "ddim", steps]["ece"], 3) for steps in (1, 50)]
    solver = [short(first["noise", "lung_xray", sampler, 4]["dice_mean"], 3) for sampler in ("dpm++", "ddim")]
    return *spread, *below, *error, *solver


def test_the_sentences_of_the_curve(table1):
    text = text_of("docs/few_steps.md")
    *figures, error, later, solver, ddim = sentences_of_the_curve()
    assert "lie within {} (lungs), {} (skin) and {} (polyps) of each other".format(*figures[:3]) in text
    assert "One evaluation is {}, {} and {} below the best of the 36".format(*figures[3:]) in text
    assert f"error rises from {error} to {later} on lungs" in text and f"4 x 1: {solver} to {ddim})" in text
    one = one_evaluation()
    lost = [short(table1[key]["dice_mean"] - value, 3) for key, value in zip(LIGHTS, one, strict=True)]
    assert "it is {}, {} and {} below four mirrored ones".format(*lost) in text
    assert "({}, {} and {};".format(*map(short, one)) in text
    first = {
        (r["dataset"], r["steps"]): r["dice_mean"]
        for r in result("docs/results/steps.json")["rows"]
        if (r["target"], r["sampler"], r["samples"]) == ("v", "ddim", 1)
    }
    falls = [first[name, 1] - first[name, 50] for name in SETS]
    assert f"by {short(min(falls), 2)} to {short(max(falls), 2)} for one sample between 1 and 50 steps" in text


def test_no_score_on_the_few_steps_page_is_without_a_source(table1):
    """All numbers of three or four decimals without a zero before the point, which is how the page writes scores."""
    found = set(re.findall(r"(?<![\w.])\.\d{3,4}(?![\d%])", text_of("docs/few_steps.md")))
    runs = result("docs/results/few_steps.json")["rows"]
    known = {short(run[field], 3) for run in runs for field in ("dice_mean", "dice_single")}
    known |= {short(row[field]) for row in table1.values() for field in ("dice_mean", "dice_single", "validation_dice")}
    for name in SETS:
        light, unet = table1[LIGHT, name], table1["unet", name]
        known |= {short(abs(light["dice_mean"] - other), 3) for other in (light["dice_single"], unet["dice_mean"])}
        known |= {short(light["kept_dice"] - light["dice_mean"], 3), short(light["ece"], 3)}
    for lead in result("docs/results/table1.json")["leads"]:
        known |= {short(abs(value), 3) for value in lead["lead_ci"]}
    known |= {".005", ".006"}  # what is asked for, and the last signal of the schedule
    known |= set(sentences_of_the_curve()) | {short(value) for value in one_evaluation()}
    known |= {short(a["dice_mean"] - b, 3) for a, b in zip(map(table1.get, LIGHTS), one_evaluation(), strict=True)}
    known |= {short(row["dice_mean"]) for row in result("docs/results/steps.json")["rows"] if row["sampler"] == "ddim"}
    assert found - known == set()


def test_the_sizes_of_the_networks():
    """As Table 2 counted them."""
    rows = {row["system"]: row for row in result("docs/results/table2.json")["rows"]}
    method, readme = text_of("docs/method.md"), text_of("README.md")

    def told(system):
        return f"{rows[system]['parameters']:,}", f"{rows[system]['weights_bytes'] / 2**20:.1f} MiB"

    assert "{} parameters, {} in float32".format(*told("ddim")) in method
    assert "It has {} parameters, {}".format(*told(LIGHT)) in method
    light, standard = (f"{rows[name]['parameters'] / 1e6:.1f}" for name in (LIGHT, "ddim"))
    assert f"{light} instead of {standard} million parameters" in readme
    small = {row["system"]: row["parameters"] for row in result("docs/results/table1.json")["rows"]}
    assert f"small, {small[LIGHT] / 1e6:.2f} M, 64 x 64" in readme
    assert f"{small[LIGHT] / 1e6:.2f} million parameters, masks found at 64 x 64" in readme
    presets = {name: parameters(name) for name in (LIGHT, "unet", "medsegdiff")}
    assert f"`small` (about {presets[LIGHT] / 1e6:.2f} M parameters)" in method
    for name in ("unet", "medsegdiff"):
        assert f"{told(name)[0]} parameters (small: {presets[name]:,})" in method


def parameters(name):
    """Of the network's small preset."""
    model = create_model(name, preset="small")
    return parameter_count(jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model, 64))["params"])
