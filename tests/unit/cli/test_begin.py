"""The beginning of the commands: a device, and an environment that JAX can read."""

import builtins
import sys

import jax
import pytest

from ddim_jax.cli import begin as begin_module
from ddim_jax.cli import main
from ddim_jax.cli.begin import find_device
from ddim_jax.runtime.errors import InputError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("Unable to initialize backend 'nothere': not known\nmore"), "'nothere': not known"),
        (AssertionError(), "no such device"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(error, said, monkeypatch):
    def devices():
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "nothere")
    with pytest.raises(InputError) as raised:
        find_device()
    assert said in str(raised.value) and "JAX_PLATFORMS is 'nothere': unset it" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_current_folder_that_was_removed_is_said(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(begin_module, "log_in_lines", lambda: None)
    with pytest.raises(InputError, match="the current folder was removed"):
        begin_module.begin()


@pytest.mark.parametrize("name", main.COMMANDS)
def test_a_variable_that_jax_cannot_read_is_one_line(name, monkeypatch, capsys):
    imported = builtins.__import__

    def imports(module, *rest):
        if module == "jax":
            raise ValueError("invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'")
        return imported(module, *rest)

    monkeypatch.setattr(builtins, "__import__", imports)
    monkeypatch.setattr(sys, "argv", ["ddim-jax", name])
    with pytest.raises(SystemExit) as exit:
        main.main()
    assert exit.value.code == 2
    said = (
        "error: invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'; change or unset that environment variable"
    )
    assert capsys.readouterr().err == said + "\n"
