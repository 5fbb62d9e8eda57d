"""The tables of the documents say what the committed result files say."""

import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks import report

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
RUNS = sorted(path.parent.name for path in RESULTS.glob("*/metrics.json"))


def row_of(text: str, start: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.strip("|").split("|")]


def dice(metrics: dict) -> str:
    found = metrics["protocols"]["mean"]["per_image"]["dice"]
    return f"{found['mean']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


@pytest.mark.parametrize("run", RUNS)
def test_a_row_of_the_results(run):
    metrics = json.loads((RESULTS / run / "metrics.json").read_text())
    calibrated, paper = (metrics["protocols"][name]["per_image"] for name in ("mean", "paper"))
    cells = row_of((RESULTS / "README.md").read_text(), f"| [{run}]")
    assert cells[3:] == [
        str(metrics["images"]),
        dice(metrics),
        f"{calibrated['recall']['mean']:.4f}",
        f"{calibrated['hd95']['mean']:.2f}",
        f"{paper['dice']['mean']:.4f}",
    ]
    assert f"{metrics['image_size']} x {metrics['image_size']}" in cells[1]
    assert (RESULTS / run / "scores.png").stat().st_size > 0


def test_the_pages_are_made_of_the_result_files(tmp_path, capsys):
    """Every page that `python -m benchmarks.report` writes from the committed files is the committed one."""
    for folder in ("benchmarks/results", "docs/results"):
        (tmp_path / folder).mkdir(parents=True)
        for path in (ROOT / folder).glob("*.json"):
            shutil.copy(path, tmp_path / folder)
    report.main(["--root", str(tmp_path)])
    written = {Path(line).relative_to(tmp_path) for line in capsys.readouterr().out.splitlines()}
    written |= {path.relative_to(tmp_path) for path in tmp_path.rglob("*.md")}
    assert Path("docs/benchmarks.md") in written and Path("docs/results.md") in written
    for page in sorted(written):
        assert (ROOT / page).exists(), f"{page} is not committed"
        same = (ROOT / page).read_text(encoding="utf-8") == (tmp_path / page).read_text(encoding="utf-8")
        assert same, f"{page} is not what python -m benchmarks.report makes of the result files"
    for page in ROOT.glob("docs/**/*.md"):
        text = page.read_text(encoding="utf-8")
        if "Written by `python -m benchmarks.report`" in text:
            assert page.relative_to(ROOT) in written, f"{page.relative_to(ROOT)} has no result file"


def test_the_readme_repeats_the_result_files():
    text = (ROOT / "README.md").read_text()
    told = re.findall(r"0\.\d{4} \[0\.\d{4}, 0\.\d{4}\]", text)
    expected = [dice(json.loads((RESULTS / "lung_xray_lightweight_256" / "metrics.json").read_text()))]
    for row in json.loads((RESULTS / "table1.json").read_text())["rows"]:
        if (row["system"], row["protocol"]) == ("lightweight_ddim", "mean"):
            low, high = row["dice_ci"]
            expected.append(f"{row['dice_mean']:.4f} [{low:.4f}, {high:.4f}]")
    assert sorted(told) == sorted(expected)


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "docs/method.md",
        "docs/performance.md",
        "docs/few_steps.md",
        "docs/scale.md",
        "docs/results/README.md",
    ],
)
def test_links_lead_somewhere(document):
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), f"{document} links to {target}"


def test_the_convolutions_of_the_performance_page():
    text = (ROOT / "docs" / "performance.md").read_text()

    def times(platform: str, case: list[int]) -> dict[str, tuple[float, float]]:
        rows = json.loads((ROOT / "benchmarks" / "results" / f"grouped_conv_{platform}.json").read_text())["rows"]
        return {row["lowering"]: (row["forward_ms"], row["backward_ms"]) for row in rows if row["case"] == case}

    for side, channels, features in [(256, 256, 128), (64, 512, 256), (16, 512, 512)]:
        found = times("h100", [20, side, channels, features, 32])
        dense = f"supergroups of {channels} channels"
        cells = row_of(text, f"| {side} x {side}, {channels} to {features} channels, 32 groups |")[1:]
        names = ("native", "supergroups of 128 channels", dense)
        assert cells == [f"{found[name][0]:.3f} / {found[name][1]:.3f}" for name in names]
    found = times("cpu", [1, 64, 128, 128, 16])
    told = "{:.1f} ms forward and {:.0f} ms for both gradients".format(*found["native"])
    assert told in " ".join(text.split())
    assert "{:.1f} ms and {:.1f} ms.".format(*found["supergroups of 32 channels"]) in " ".join(text.split())
    narrow = times("cpu", [1, 64, 256, 128, 32])
    for width in (32, 64):
        assert f"{narrow[f'supergroups of {width} channels'][1]:.1f} ms" in text


def test_the_memory_of_the_options():
    text = (ROOT / "docs" / "scale.md").read_text()
    for row in json.loads((RESULTS / "memory_options.json").read_text())["rows"]:
        cells = row_of(text, f"| {row['accumulate']} | {'yes' if row['remat'] else 'no'} |")
        assert cells[2:] == [f"{row[name] / 1e6:.1f} MB" for name in ("kept_bytes", "temporary_bytes")]


def test_the_few_steps_page_repeats_the_curve():
    text = (ROOT / "docs" / "few_steps.md").read_text()
    rows = json.loads((RESULTS / "steps.json").read_text())["rows"]
    for target, name in (("x0", "mask"), ("v", "v"), ("noise", "noise")):
        for steps, samples in ((1, 1), (1, 4), (10, 4), (50, 1), (50, 5)):
            found = {
                row["dataset"]: f"{row['dice_mean']:.4f}".lstrip("0")
                for row in rows
                if (row["target"], row["sampler"], row["steps"], row["samples"]) == (target, "ddim", steps, samples)
            }
            expected = [found[dataset] for dataset in ("lung_xray", "skin_lesion", "polyp")]
            assert row_of(text, f"| {name}, {steps} x {samples} |")[1:] == expected
