"""The options and fields in the commands of README.md and docs/ are there."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ddim_jax.cli.main import COMMANDS
from ddim_jax.config import create_config

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
COMMAND = re.compile(rf"(?:ddim-jax ({'|'.join(COMMANDS)})\b|python (train|evaluate|sample)\.py)([^\n#|;&]*)")


def documented():
    """(page, command, its arguments) of each command in a block of shell."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for ours, script, arguments in COMMAND.findall(block.replace("\\\n", " ")):
                yield page.name, ours or script, arguments


@functools.cache
def help_of(command):
    environment = os.environ | {"COLUMNS": "200", "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run([sys.executable, "-m", "ddim_jax", command, "--help"], capture_output=True, text=True,
                         cwd=ROOT, env=environment)  # fmt: skip
    return ran.stdout


def test_options_and_fields_exist():
    found = list(documented())
    assert {command for _, command, _ in found} == set(COMMANDS)
    fields = create_config()
    for page, command, arguments in found:
        for option in re.findall(r"(?<!\S)(--[a-z][a-z0-9-]*)(?=[\s=]|$)", arguments):
            assert re.search(rf"{option}\b", help_of(command)), f"{page}: {command} has no {option}"
        for field in re.findall(r"--config\.([a-z_0-9.]+)=", arguments):
            *sections, name = field.split(".")
            section = functools.reduce(lambda config, part: config[part], sections, fields)
            assert name in section, f"{page}: {field}"


def test_warnings_are_plain_lines(tmp_path):
    """A command without flags of absl, whose log would name the library in each line."""
    for kind, level in (("images", 90), ("masks", 255)):
        (tmp_path / kind).mkdir()
        for name in "abc":
            Image.fromarray(np.pad(np.full((8, 8), level, np.uint8), 4)).save(tmp_path / kind / f"{name}.png")
    (tmp_path / "images/odd.xyz").touch()
    command = [sys.executable, "-m", "ddim_jax", "doctor", "--data", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines() == [
        f"WARNING: {tmp_path}: files of images/ and masks/ that are no images are passed over: .xyz 1"
    ]
