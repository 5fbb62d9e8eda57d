"""The command line of train.py: what it reads, and what it says of arguments that cannot be used."""

import ast
import functools
import json
import logging
import re
import sys
from pathlib import Path

import absl.logging
import pytest
from absl import flags
from ml_collections import config_flags
from tiny_runs import config_file, tiny_config

from ddim_jax.cli import begin
from ddim_jax.cli import train as command
from ddim_jax.config import resolve_config
from ddim_jax.registry import LOSSES, MODELS

ROOT = Path(__file__).parents[3]


def tiny_file():
    """tiny_runs' config as a config file."""
    return config_file(tiny_config())


def line_of(statement):
    """The number of the line of `tiny_file` that begins with `statement`, from 1."""
    lines = tiny_file().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if line.strip().startswith(statement))


@pytest.fixture
def parse(monkeypatch, tmp_path, capsys):
    """`parse_flags` on flags of its own: its error message, or what it left over."""
    (tmp_path / "tiny.py").write_text(tiny_file())
    (tmp_path / "wrong.py").write_text(tiny_file().replace("config.name = ", "config.nmae = "))
    (tmp_path / "syntax.py").write_text(tiny_file().replace("return config", "retrun config"))
    (tmp_path / "types.py").write_text(
        tiny_file().replace("config.update({", "config.seed = 'one'\n    config.update({")
    )
    (tmp_path / "latin.py").write_bytes(tiny_file().encode().replace(b'"tiny"', b'"gr\xfcn"'))
    (tmp_path / "picture.py").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "none.py").write_text("def get_config():\n    pass\n")
    (tmp_path / "bug.py").write_text(tiny_file().replace('config.name = "tiny"', "None.name"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    handler = absl.logging.get_absl_handler()
    formatter, filters = handler.formatter, list(handler.filters)
    monkeypatch.delitem(sys.modules, "config_config", raising=False)  # what an earlier file left
    own = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", own)
    config_flags.DEFINE_config_file("config", None, flag_values=own)
    flags.DEFINE_string("output", None, "FILE.safetensors", flag_values=own)

    def parse(*arguments, required=()):
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        try:
            return command.parse_flags(sys.argv, "Trains.", required)
        except SystemExit as exit:
            assert exit.code == 2
            (line,) = capsys.readouterr().err.splitlines()
            return line

    yield parse
    handler.setFormatter(formatter)
    handler.filters[:] = filters


def test_arguments_that_work(parse):
    assert parse("--config", "tiny.py", "--config.train.steps=7", "--config.data.root=DIR") == ["train.py"]
    config = flags.FLAGS["config"].value
    assert (config.train.steps, config.data.root, config.name) == (7, "DIR", "tiny")


def test_the_config_of_a_run(parse):
    Path("config.json").write_text(json.dumps(tiny_config()))
    assert parse("--config", "config.json", "--config.train.steps=7") == ["train.py"]
    resolved = tiny_config()
    resolved["train"]["steps"] = 7
    assert resolve_config(flags.FLAGS["config"].value) == resolved


def test_none_for_fields_of_any_type_that_may_be_none(parse):
    """absl reads "none" as that text, and of a number not at all."""
    fields = ("model.preset=none", "sample.clip_x0=None", "train.init_from=none", "model.overrides.base_channels=none")
    left = parse("--config", "tiny.py", *(f"--config.{field}" for field in fields), "--config.data.window", "none")
    assert left == ["train.py"]
    config = flags.FLAGS["config"].value
    found = [config.model.preset, config.sample.clip_x0, config.train.init_from, config.data.window]
    assert [*found, config.model.overrides.base_channels] == [None] * 5
    assert parse("--config", "tiny.py", "--config.name", "none") == ["train.py"]
    assert flags.FLAGS["config"].value.name == "none"  # a text like any other


def test_what_is_required_besides_the_config_is_named(parse):
    missing = "error: --output is missing; expected FILE.safetensors"
    assert parse("--config", "tiny.py", required=("output",)) == missing
    assert parse("--config", "tiny.py", "--output", required=("output",)) == missing
    for given in (["--output=a"], ["--output", "a"]):
        assert parse("--config", "tiny.py", *given, required=("output",)) == ["train.py"]
        assert flags.FLAGS["output"].value == "a"


@pytest.mark.parametrize("field", ["train.init_from", "systems.unet.model.overrides.dtype"])
@pytest.mark.parametrize("values", ["none float32", "float32 none", "float32 none bfloat16"])
def test_the_last_argument_for_a_field_counts_none_or_not(parse, field, values):
    values = values.split()
    parse("--config", str(ROOT / "configs/fast.py"), *(f"--config.{field}={value}" for value in values))
    found = functools.reduce(getattr, field.split("."), flags.FLAGS["config"].value)
    assert found == (None if values[-1] == "none" else values[-1])


@pytest.mark.parametrize("value", ["anna,ben", "anna, ben", "('anna', 'ben')"])
def test_a_field_that_lists_names_takes_commas(parse, value):
    parse("--config", str(ROOT / "configs/base.py"), "--config.data.annotators", value, "--config.data.segments=a=Lung")
    data = flags.FLAGS["config"].value.data
    assert (data.annotators, data.segments) == (("anna", "ben"), ("a=Lung",))


def test_none_for_a_field_of_a_network(parse):
    parse("--config", str(ROOT / "configs/ambiguous.py"), "--config.systems.lightweight_ddim.sample.clip_x0=none")
    config = flags.FLAGS["config"].value
    assert (config.systems.lightweight_ddim.sample.clip_x0, config.systems.ddim.sample.clip_x0) == (None, 1.0)
    assert resolve_config(config)["sample"]["clip_x0"] is None


def test_the_help_has_the_configs_and_the_first_fields(parse, capsys):
    with pytest.raises(SystemExit) as left:
        command.parse_flags(["ddim-jax train", "--help"], "Trains: %(prog)s")
    lines = capsys.readouterr().out.splitlines()
    assert left.value.code == 0 and lines[0].startswith("Trains: ") and " demo, demo_classes, fast, " in lines[1]
    assert ["--config.train.steps=", "length of the run in steps; 0: given by epochs"] in [
        line.strip().split(maxsplit=1) for line in lines
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--config is missing; expected a file, or a name of: ambiguous, base, "),
        (
            ("--config", "no.py"),
            "--config: there is no file no.py; expected one, or a name of: ambiguous, base, demo, ",
        ),
        (("--config", "."), "--config: there is no file \\.; expected one"),
        (("--config", "wrong.py"), "no field 'nmae'.*\"name\""),
        (("--config", "syntax.py"), f"--config: .*syntax.py, line {line_of('return config')}: invalid syntax"),
        (("--config", "types.py"), f"--config: .*types.py, line {line_of('config.update')}: TypeError: .*int"),
        (("--config", "tiny.py:small"), "--config: TypeError: get_config.* takes 0 positional arguments"),
        (("--config", "latin.py"), "--config: .*latin.py, line .*expected a file of Python"),
        (("--config=picture.py",), "--config: .*picture.py.*expected a file of Python"),
        (("--config", "empty.py"), "--config: .*empty.py .*get_config"),
        (("--config", "none.py"), "--config: get_config.. of none.py gave NoneType; expected fields"),
        (("--config", "tiny.py", "--config.trian.steps=3"), "no field 'trian.steps'.*\"train\""),
        (("--config", "tiny.py", "--config.train.stepz=3"), "no field 'train.stepz'.*\"steps\""),
        (
            ("--config", "tiny.py", "--config.seed=3", "--config.train.eval_every", "50"),
            "no field 'train.eval_every'; `ddim-jax fields WORD` lists those with WORD",
        ),
        (("--config", "tiny.py", "--config.train.steps.x=3"), "no field 'train.steps.x'"),
        (("--config", "tiny.py", "--config.model.overrides.widht=none"), "no field 'model.overrides.widht'"),
        (
            ("--config", str(ROOT / "configs/fast.py"), "--config.systems.no.sample.clip_x0=none"),
            "no field 'systems.no.sample.clip_x0'",
        ),
        (
            ("--config", "tiny.py", "--config.train.steps=20k"),
            "train.steps is '20k'; expected a whole number from 0 to",
        ),
        (("--config", "tiny.py", "--config.data.flips=maybe"), "data.flips is 'maybe'; expected true or false"),
        (
            ("--config", "tiny.py", "--data.root=d1"),
            "there is no --data.root; a field is set as --config.data.root=VALUE$",
        ),
        (("--config", "tiny.py", "--seed", "3"), "there is no --seed; a field is set as --config.seed=VALUE"),
        (("--config", "tiny.py", "--stepz=3"), "'stepz'"),
        (
            ("--config", "tiny.py", '--config.data.labels={"a": 1, "a": 2}'),
            "data.labels is .*: 'a' is there twice; exp",
        ),
        (("--config", "tiny.py", "config.train.steps=3"), "unexpected argument 'config.train.steps=3'"),
    ],
)
def test_arguments_that_do_not(parse, arguments, message):
    assert re.match(f"error: .*{message}", parse(*arguments))


NETWORK = """
import flax.linen as nn
from ddim_jax import register

@register.model("{name}")
class Network(nn.Module):
    breadth: {type}
    size_multiple = 1
"""


LOSS = """
import functools
from ddim_jax import register

register.loss("half")(functools.partial(lambda weight, logits, x0, labels: weight * (logits - x0), 0.5))
"""


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """Two modules with networks, whose fields of one name have two types; one that imports the first; and a loss."""
    (tmp_path / "net_one.py").write_text(NETWORK.format(name="one", type="int = 4"))
    (tmp_path / "net_two.py").write_text(NETWORK.format(name="two", type="tuple = (4,)"))
    (tmp_path / "with_one.py").write_text("import net_one\n")
    (tmp_path / "loss.py").write_text(LOSS)
    monkeypatch.syspath_prepend(str(tmp_path))
    for registry in (MODELS, LOSSES):
        monkeypatch.setattr(registry, "_entries", dict(registry.items()))
    yield
    for name in ("net_one", "net_two", "with_one", "loss"):
        sys.modules.pop(name, None)


def not_named(field, module, expected):
    return (
        f"error: --config: imports.py: {field} of the module {module}, which plugins does not name, so that no "
        f"checkpoint would say where it is; expected config.plugins = ({expected})"
    )


OF_THE_FILE = (
    "error: --config: imports.py: diffusion.loss is 'half', which this file registers itself, so that no checkpoint "
    "would say where it is; expected it in a module of its own, named in config.plugins"
)
IN_SYSTEM = "systems.lightweight_ddim.diffusion.loss=half"


@pytest.mark.parametrize(
    ("first", "arguments", "told"),
    [
        ("import net_one", ["model.name=one"], not_named("model.name is 'one'", "net_one", '"net_one",')),
        ("import net_one", ["model.name=one", "plugins=net_one"], ["train.py"]),
        ("import net_one", ["model.name=unet"], ["train.py"]),
        (
            "import net_one",
            ["model.name=one", "plugins=net_two"],
            not_named("model.name is 'one'", "net_one", '"net_two", "net_one"'),
        ),
        ("import with_one", ["model.name=one", "plugins=with_one"], ["train.py"]),
        ("import loss", ["diffusion.loss=half"], not_named("diffusion.loss is 'half'", "loss", '"loss",')),
        ("import loss", [IN_SYSTEM], ["train.py"]),  # the loss that is set goes before it
        (
            "import loss",
            ["diffusion.loss=none", IN_SYSTEM],
            not_named("diffusion.loss is 'half'", "loss", '"loss",'),
        ),
        (LOSS, ["diffusion.loss=half"], OF_THE_FILE),
        (f"{LOSS}\nPLUGINS = ('config_config',)", ["diffusion.loss=half"], OF_THE_FILE),
    ],
)
def test_what_a_config_file_brings_has_to_be_in_plugins(parse, networks, first, arguments, told):
    text = tiny_file().replace("def get_config():", f"PLUGINS = ()\n{first}\n\n\ndef get_config():")
    Path("imports.py").write_text(text.replace("return config", "config.plugins = PLUGINS\n    return config"))
    assert parse("--config", "imports.py", *(f"--config.{argument}" for argument in arguments)) == told


@pytest.mark.parametrize(
    ("plugins", "breadth"),
    [
        (("--config.plugins=('net_one',)",), "5"),
        (("--config.plugins", "['net_one']"), "5"),
        (("--config.plugins=net_one",), "5"),
        (("--config.plugins=net_one", "--config.plugins=net_two"), "5"),
        (("--config.plugins=('net_one', 'net_two')",), "(5, 6)"),
        (("--config.plugins=net_one,net_two",), "(5, 6)"),
        (("--config.plugins", "net_one, net_two"), "(5, 6)"),
    ],
)
def test_fields_of_networks_that_the_same_command_line_brings(parse, networks, plugins, breadth):
    said = parse("--config", str(ROOT / "configs/base.py"), f"--config.model.overrides.breadth={breadth}", *plugins)
    assert said == ["train.py"]
    config = flags.FLAGS["config"].value
    assert config.model.overrides.breadth == ast.literal_eval(breadth)
    assert list(config.plugins) == ["net_one", "net_two"][: str(plugins).count("net_")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config.plugins=('no_such_module',)",), "plugins names 'no_such_module', which cannot be imported"),
        (("--config.plugins=('net_one'",), r"plugins names \"\('net_one'\"; expected the name of a module"),
        (("--config.model.overrides.breadth=5",), "no field 'model.overrides.breadth'"),
    ],
)
def test_plugins_that_are_none(parse, networks, arguments, message):
    said = parse("--config", str(ROOT / "configs/base.py"), *arguments)
    assert re.match(f"error: .*{message}", said)


@pytest.mark.parametrize("name", ["\x1b[31mfoo", "a b", "1x", "train..steps"])
def test_a_field_that_is_no_name_is_one_line_that_a_terminal_bears(parse, name):
    said = parse("--config", "tiny.py", f"--config.{name}=1")
    assert said.startswith("error: ") and said.isprintable()


def test_a_bug_in_a_config_file_keeps_its_traceback(parse):
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'name'"):
        parse("--config", "bug.py")


def test_what_is_logged_is_ours_or_a_warning(parse, capsys):
    parse("--config", "tiny.py")
    handler = absl.logging.get_absl_handler()
    ours, theirs = begin._PACKAGE + "/data/splits.py", "/lib/site-packages/orbax/checkpoint/checkpoint.py"
    cases = [(ours, logging.INFO), (theirs, logging.INFO), (theirs, logging.WARNING), (ours, logging.WARNING)]
    kept = [handler.filter(logging.LogRecord("absl", level, path, 1, "text", (), None)) for path, level in cases]
    assert [bool(k) for k in kept] == [True, False, True, True]
    record = logging.LogRecord("absl", logging.INFO, ours, 1, "Split of %s read.", ("lungs",), None)
    assert handler.format(record) == "INFO: Split of lungs read."
