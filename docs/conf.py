"""Settings of Sphinx, which builds these pages: `make docs` writes them to build/docs; warnings are errors."""

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import ddim_jax  # noqa: E402  # its folder is not on the path before
from ddim_jax.cli.main import COMMANDS  # noqa: E402

project = "ddim_jax"
author = "the ddim_jax authors"
release = version = ddim_jax.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"ddim_jax {release}"
html_copy_source = False
exclude_patterns = ["images/**", "reference/generated/**"]

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
# A link to a file that is no page, such as the JSON of a table, is a download.
myst_all_links_external = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def write_generated_pages(_app) -> None:
    """Writes what the code says of itself into reference/generated/, from where pages include it."""
    folder = HERE / "reference" / "generated"
    folder.mkdir(exist_ok=True)
    # Its title is that of the page which includes it.
    _write(folder / "configuration.md", _output("-m", "ddim_jax", "fields").partition("\n")[2])
    for command in COMMANDS:
        _write(folder / f"{command}.txt", _output("-m", "ddim_jax", command, "--help"))


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:  # Sphinx reads a page again where it is newer
        path.write_text(text, encoding="utf-8")


def _output(*arguments: str) -> str:
    environment = os.environ | {"COLUMNS": "100", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parent)}
    ran = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=HERE.parent)
    if ran.returncode and "--help" not in arguments:  # absl's help ends with status 1
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{ran.stderr}")
    return ran.stdout


def as_restructured_text(_app, _what, _name, _object, _options, lines: list[str]) -> None:
    """Docstrings are plain text: a bar is a bar, a star a star, and several results are a list."""
    lines[:] = [line.replace("|", r"\|").replace("*", r"\*") for line in lines]
    start = next((i for i, line in enumerate(lines, 1) if line == "Returns:"), len(lines))
    end = next((i for i in range(start, len(lines)) if not lines[i].startswith("  ")), len(lines))
    results = [i for i in range(start, end) if re.match(r"  \w+: ", lines[i])]
    if len(results) > 1:
        for i in range(start, end):
            lines[i] = ("  * " if i in results else "    ") + lines[i][2:]
        lines.insert(start, "  tuple:")  # napoleon takes what stands before the first colon for the type


def setup(app) -> None:
    app.connect("builder-inited", write_generated_pages)
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)  # before napoleon
