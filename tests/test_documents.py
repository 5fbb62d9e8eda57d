"""The tables of the documents say what the committed result files say."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
RUNS = sorted(path.parent.name for path in RESULTS.glob("*/metrics.json"))


def row_of(text: str, start: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.strip("|").split("|")]


def dice(metrics: dict) -> str:
    found = metrics["protocols"]["calibrated"]["per_image"]["dice"]
    return f"{found['mean']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


@pytest.mark.parametrize("run", RUNS)
def test_a_row_of_the_results(run):
    metrics = json.loads((RESULTS / run / "metrics.json").read_text())
    calibrated, paper = (metrics["protocols"][name]["per_image"] for name in ("calibrated", "paper"))
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


def test_the_readme_repeats_them():
    text = (ROOT / "README.md").read_text()
    told = re.findall(r"0\.\d{4} \[0\.\d{4}, 0\.\d{4}\]", text)
    assert sorted(told) == sorted(dice(json.loads((RESULTS / run / "metrics.json").read_text())) for run in RUNS)


@pytest.mark.parametrize("document", ["README.md", "docs/method.md", "docs/results/README.md"])
def test_links_lead_somewhere(document):
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), f"{document} links to {target}"
