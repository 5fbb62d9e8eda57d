"""The command ddim-jax: which commands there are, and the configs that it finds by name."""

import gc
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ddim_jax
from ddim_jax.cli import configs, main
from ddim_jax.runtime.errors import INTERRUPTED, TRY_AGAIN, ConfigError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def ddim_jax_command(monkeypatch, capsys):
    """Runs `ddim-jax ARGUMENTS`: (exit status, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ddim-jax", *arguments])
        status = main.main()
        return (status, *capsys.readouterr())

    return run


def test_a_command_gets_the_arguments_behind_its_name(ddim_jax_command, monkeypatch):
    monkeypatch.setitem(main.COMMANDS, "sample", lambda: print(sys.argv) or 7)
    status, said, _ = ddim_jax_command("sample", "--ckpt", "RUN", "train")
    assert (status, said) == (7, "['ddim-jax sample', '--ckpt', 'RUN', 'train']\n")


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ()])
def test_help_has_all_commands(ddim_jax_command, arguments):
    status, said, error = ddim_jax_command(*arguments)
    assert (status, said if arguments else error) == (0 if arguments else 2, said + error)
    assert [line.split()[0] for line in (said + error).splitlines()[2:]] == list(main.COMMANDS)


def test_the_reference_and_the_help_of_sample_have_the_exit_statuses():
    page = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    statuses = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    assert statuses == ["0", "1", "2", f"{TRY_AGAIN}", f"{INTERRUPTED}", f"{128 + signal.SIGTERM}"]
    told = " ".join(main.SAMPLE.partition("Exit")[2].split())
    assert re.findall(r"\b(\d+) (?:if|with) ", told) == statuses


def test_the_version(ddim_jax_command):
    assert ddim_jax_command("--version") == (0, f"ddim-jax {ddim_jax.__version__}\n", "")


def test_a_command_that_is_none(ddim_jax_command):
    status, said, error = ddim_jax_command("trian")
    assert (status, said) == (2, "")
    assert error == f"error: 'trian' is not a command; expected one of {', '.join(main.COMMANDS)}\n"
    assert list(main.COMMANDS)[:3] == ["train", "pretrain", "evaluate"]


def test_fields_of_a_config_by_a_part_of_their_names(ddim_jax_command):
    assert ddim_jax_command("fields", "ema_", "attention_levels") == (
        0,
        "train.ema_decay\n"
        "    decay of the exponential moving average of the weights, used for sampling\n"
        "    a number from 0 to below 1; default: 0.9999; may change when a run goes on: no\n"
        "\n"
        "model.overrides.attention_levels\n"
        "    levels with attention, counted from 0\n"
        "    0 to 64 values, each a whole number from 0 to 11; default: the preset's; may change when a run goes on: "
        "no\n",
        "",
    )
    _, said, _ = ddim_jax_command("fields", "valid")
    names = [line for line in said.splitlines() if line and line[0] != " "]
    assert names[:2] == ["train.validation_images", "train.validation_steps"]  # by the name, then by the meaning
    assert "train.checkpoint_every" in names[2:]
    status, said, _ = ddim_jax_command("fields")
    assert status == 0 and said.startswith("# Configuration\n") and "| `train.ema_decay` |" in said


def test_a_part_of_no_name_is_refused(ddim_jax_command, capsys):
    with pytest.raises(SystemExit) as left:
        ddim_jax_command("fields", "learningrate")
    assert left.value.code == 2
    told = "no field of a config has 'learningrate' in its name or meaning; `ddim-jax fields` lists all"
    assert capsys.readouterr().err == f"error: {told}\n"


def test_nothing_heavy_is_imported_before_a_command_listens_for_signals():
    program = "import sys; import ddim_jax.cli.main; print(sorted({'jax', 'numpy', 'absl', 'flax'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_file_that_a_traceback_names_is_the_command_too():
    call = [sys.executable, "-m", "ddim_jax.cli.main", "docter"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: 'docter' is not a command; expected one of train, ")


def test_configs_by_name_with_or_without_py_and_with_an_argument(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo = str(ROOT / "configs/demo.py")
    assert configs.config_file("demo") == configs.config_file("demo.py") == configs.config_file(demo) == demo
    assert configs.config_file("table1:unet") == str(ROOT / "configs/table1.py:unet")
    (tmp_path / "demo.py").touch()
    assert configs.config_file("demo.py") == "demo.py"  # a file that exists is meant
    assert configs.config_file("demo.py:unet") == "demo.py:unet"
    assert configs.config_file("demo") == demo


def test_a_name_that_there_is_not_lists_those_that_there_are():
    with pytest.raises(ConfigError) as caught:
        configs.config_file("configs/dmeo.py")
    assert str(caught.value) == (
        "--config: there is no file configs/dmeo.py; expected one, or a name of: "
        + ", ".join(sorted(path.stem for path in (ROOT / "configs").glob("*.py")))
    )


def test_any_config_file_builds_on_those_of_the_package(tmp_path):
    """From a folder that has neither the package nor configs/ in it, as with an installed package."""
    program = (
        "from ddim_jax.cli import configs; configs.config_file('demo')\n"
        "from configs import base, demo; print(base.__file__, demo.get_config().name)"
    )
    first = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import ddim_jax; del sys.path[0]\n"
    command = [sys.executable, "-I", "-c", first + program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{ROOT / 'configs/base.py'} demo\n", "")


def test_what_a_command_imports_is_not_looked_through_for_garbage(monkeypatch):
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(gc.isenabled()))
    with main._starting("stopped"):
        assert not gc.isenabled()
    assert frozen == [False] and gc.isenabled()
