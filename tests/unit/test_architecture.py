"""The floors and the walks that docs/explanation/architecture.md shows are those of the code."""

import ast
import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ddim_jax"
PAGE = ROOT / "docs" / "explanation" / "architecture.md"

_spec = importlib.util.spec_from_file_location("draw_architecture", PAGE.with_name("draw_architecture.py"))
architecture = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(architecture)
FLOOR = {room: -number for number, rooms in enumerate(architecture.FLOORS) for room in rooms}


def room(path):
    """The room of a file or folder below the package, by its parts: `config.py` or `models`."""
    return path[0] if len(path) > 1 or path[0].endswith(".py") or path[0] in FLOOR else f"{path[0]}.py"


def imported_rooms(file):
    """The rooms that a module imports from when it is imported itself."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        modules = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ddim_jax":
            modules = [node.module] if "." in node.module else [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names if alias.name.startswith("ddim_jax.")]
        for module in modules:
            found = room(module.split(".")[1:2])
            if found in FLOOR:
                yield found


def test_imports_go_down():
    wrong = []
    for file in sorted(PACKAGE.rglob("*.py")):
        path = file.relative_to(PACKAGE)
        own = room(path.parts)
        if path.name.startswith("__") and len(path.parts) == 1:  # the front doors, above all floors
            continue
        assert own in FLOOR, f"{path} stands on no floor of docs/explanation/draw_architecture.py"
        wrong += [f"{path} imports from {other}" for other in imported_rooms(file)
                  if other != own and FLOOR[other] >= FLOOR[own]]  # fmt: skip
    assert not wrong, wrong


def test_an_import_that_goes_up_is_seen(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        "import ddim_jax.cli.main\nfrom ddim_jax.training.loop import train\nfrom ddim_jax import registry\n"
    )
    assert list(imported_rooms(file)) == ["cli", "training", "registry.py"]


def test_the_walks_are_short_and_their_files_are_there():
    for walk in (architecture.TO_LOSS, architecture.TO_MASK):
        assert len(walk) == len(set(walk)) <= 12
        for file in walk:
            assert (PACKAGE / file).is_file(), file
            assert f"`{file}`" in PAGE.read_text(encoding="utf-8"), f"{file} is not on the page"


def test_the_diagram_is_the_one_that_the_script_draws():
    assert PAGE.with_name("architecture.svg").read_text(encoding="utf-8") == architecture.draw()
