"""The commands that the pages and the docstrings of configs/ give have options that the programs take."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("configs/*.py")])
COMMAND = re.compile(r"\b(train|sample|evaluate)\.py +(--[^`\n|;]*)|-m (benchmarks\.\w+)([^`\n;]*)")


def commands(path):
    """(program, its options) of every command on a page: train.py, sample.py, evaluate.py or a benchmark."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for program, options, module, more in COMMAND.findall(text):
        yield program or module, options or more


def source(program):
    """What defines the options of a program."""
    if "." not in program:
        place = {"sample": "ddim_jax/inference/command", "evaluate": "ddim_jax/evaluation/command"}.get(
            program, program
        )
        return (ROOT / f"{place}.py").read_text(encoding="utf-8")
    place = ROOT / program.replace(".", "/")
    found = (place / "__main__.py" if place.is_dir() else place.with_suffix(".py")).read_text(encoding="utf-8")
    shared = ROOT / "benchmarks" / "table_command.py"
    return found + (shared.read_text(encoding="utf-8") if "run_parser(" in found else "")


def takes(program, option):
    text = source(program)
    names = [option, option.replace("--no-", "--")]  # BooleanOptionalAction
    if program == "train":
        return f'"{option.removeprefix("--")}"' in text
    if program == "benchmarks.speed" and option in ("--cases", "--models", "--dtypes", "--sides"):
        return f'("{option.removeprefix("--")}", ' in text
    return any(f'"{name}"' in text for name in names)


def field_of(config, path):
    for name in path.split("."):
        config = config[name]
    return config


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_exist(page):
    for program, options in commands(page):
        for option in re.findall(r"(?<!\S)\[?(--[a-z][a-z-]*)(?=[\s=\]]|$)", options):
            assert takes(program, option), f"{program} has no {option}"
        file = re.search(r"--config[ =]configs/(\w+)\.py", options)
        config = importlib.import_module(f"configs.{file.group(1) if file else 'base'}").get_config()
        for path in re.findall(r"--config\.([a-z_0-9.]+)=", options):
            field_of(config, path)  # KeyError for one that is not there


def test_what_is_looked_for_is_found():
    """Commands of every kind, some with their lines joined."""
    found = [command for page in PAGES for command in commands(page)]
    assert {"train", "sample", "evaluate", "benchmarks.speed", "benchmarks.quality.table1"} <= {program for program, _ in found}
    (own,) = [options for program, options in found if "runs/skin_lesion " in options and program == "train"]
    assert "--config.train.checkpoint_every=200" in own and "--config configs/small_x0.py" in own
    assert takes("evaluate", "--no-flips") and not takes("evaluate", "--flip")
    assert takes("benchmarks.speed", "--sides") and not takes("benchmarks.speed", "--targets")
    assert takes("benchmarks.quality.steps", "--any-device") and takes("train", "--workdir") and not takes("train", "--output")


def test_every_result_file_has_its_command():
    """Each file of figures is named on a page beside what makes it, or says so itself."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in [*PAGES, *ROOT.glob("benchmarks/*.py")])
    for path in [*ROOT.glob("benchmarks/results/*.json"), *ROOT.glob("docs/results/*.json")]:
        assert path.name in text or path.stem in ("cpu", "gpu"), path.name  # these two hold their own command
    for path in ROOT.glob("docs/results/*/metrics.json"):
        run = path.parent.name
        assert f"`{run}`" in (ROOT / "docs" / "results" / "README.md").read_text(encoding="utf-8"), run
