"""A kind of result from outside of the package: one class, registered by its decorator."""

import importlib
import json
import os
import re
import sys

import pytest
from dicom_files import ct_series
from PIL import Image
from result_files import records
from segmenters import config, picture, red_segmenter, tiny_params

from ddim_jax import __version__
from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.cli import sample
from ddim_jax.imageio.writers import WriterError, blaming
from ddim_jax.inference import segment_files
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import InputError

WRITER = """
from ddim_jax.registry import register


@register.writer("area")
class Area:
    suffix = ".area.txt"

    def write(self, path, result, image, source, context):
        assert path.name.endswith(self.suffix) and ".partial" in path.name
        facts = (int(result.mask.sum()), *image.shape, source.read_bytes()[1:4].decode(), context.software)
        path.write_text(" ".join(map(str, facts)))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that registers the writer; forgotten afterwards."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "area_writer.py").write_text(WRITER)
    monkeypatch.syspath_prepend(tmp_path / "plugins")
    yield "area_writer"
    sys.modules.pop("area_writer", None)
    WRITERS._entries.pop("area", None)


def test_it_is_written_redone_and_removed_as_the_others_are(module, folder, out):
    importlib.import_module(module)
    assert segment_files(red_segmenter(), folder, out, save=("area", "mask")).done == 5
    expected = red_segmenter().segment(picture(2, 14, 20)).mask.sum()
    assert (out / "c_area.area.txt").read_text() == f"{expected} 14 20 3 PNG ddim_jax {__version__}"
    assert records(out)["c"]["outputs"] == ["area", "mask"]
    assert segment_files(red_segmenter(), folder, out, save=("area",)).kept == 5

    (out / "b_area.area.txt").unlink()
    Image.fromarray(picture(50, 18, 18)).save(folder / "c.png")
    (folder / "d.png").write_bytes(b"damaged")
    summary = segment_files(red_segmenter(), folder, out)  # the mask alone is asked for
    assert (summary.done, summary.kept, len(summary.failed)) == (1, 3, 1)
    assert (out / "c_area.area.txt").read_text().split()[1:3] == ["18", "18"]
    assert not (out / "d_area.area.txt").exists() and not (out / "d_mask.png").exists()
    assert segment_files(red_segmenter(), folder, out, save=("area",)).done == 1  # b
    assert (out / "b_area.area.txt").exists()

    unfinished = out / ".0123456789abcdef0123456789abcdef.partial.area.txt"
    unfinished.touch()
    segment_files(red_segmenter(), folder, out)
    assert not unfinished.exists()
    with pytest.raises(InputError, match=r"a_area\.area\.txt is a result of an earlier run"):
        segment_files(red_segmenter(), out / "a_area.area.txt", out)

    del WRITERS._entries["area"]
    with pytest.raises(InputError, match=r"results of kind area, which no writer makes.*--plugins"):
        segment_files(red_segmenter(), folder, out)


@pytest.mark.parametrize("named_by", ["command", "config"])
def test_the_command_finds_it_in_a_module(named_by, module, folder, out, tmp_path, capsys):
    plugins = {"plugins": [module]} if named_by == "config" else {}
    metadata = {"config": config() | plugins, "package_version": "0"}
    CheckpointStore(tmp_path / "run/checkpoints").save(
        5, state={"step": 5}, ema_params=tiny_params()[1], metadata=metadata
    )
    arguments = ["--ckpt", f"{tmp_path}/run", "--input", f"{folder}/a.png", "--output", str(out), "--save", "area,mask"]
    if named_by == "command":
        with pytest.raises(SystemExit):
            sample.run(sample.parse_arguments(None, arguments))
        assert f"save is 'area'; expected some of {', '.join(WRITERS)}" in capsys.readouterr().err
        arguments += ["--plugins", module]
    assert sample.run(sample.parse_arguments(None, arguments)) == 0
    assert sorted(os.listdir(out)) == [".index.lock", "a_area.area.txt", "a_mask.png", "index.jsonl", "settings.json"]
    assert json.loads((out / "index.jsonl").read_text())["outputs"] == ["area", "mask"]


class Broken:
    """Fails with what is in the file."""

    suffix = ".json"

    def write(self, path, result, image, source, context):
        raise KeyError("Doe^John")


class BrokenWhole(Broken):
    def write_stack(self, path, masks, probability, stack, context):
        raise KeyError("Doe^John")


class Idle(Broken):
    def write(self, path, result, image, source, context):
        pass


class IdleWhole(Idle):
    def write_stack(self, path, masks, probability, stack, context):
        pass


@pytest.mark.parametrize("slices", [0, 1, 3])
@pytest.mark.parametrize("writer", [Broken, BrokenWhole, Idle, IdleWhole])
def test_a_writer_that_fails_or_writes_nothing_is_named_with_the_file(writer, slices, tmp_path, out, monkeypatch):
    if slices:
        ct_series(tmp_path / "ct", count=slices, shape=(16, 16))
    elif hasattr(writer, "write_stack"):
        pytest.skip("of sources alone")
    else:
        (tmp_path / "ct").mkdir()
        Image.fromarray(picture(0, 16, 16)).save(tmp_path / "ct/a.png")
    monkeypatch.setitem(WRITERS._entries, "mine", writer)
    with pytest.raises(WriterError) as error:
        segment_files(red_segmenter(), tmp_path / "ct", out, save=("mine",))
    if issubclass(writer, Idle):
        told = rf"the writer 'mine' wrote no file of {tmp_path}/ct.* at the path that it was given"
    else:
        told = rf"the writer 'mine' failed on {tmp_path}/ct.* at .*test_own_writer\.py, line \d+: KeyError"
        assert isinstance(error.value.__cause__, KeyError)
    assert re.fullmatch(told, str(error.value)) and error.value.exit_status == 2
    assert not list(out.glob("*mine*")) and not list(out.glob(".*partial*"))


@pytest.mark.parametrize(("raised", "passes"), [(OSError("no such mode"), False), (OSError(28, "full"), True)])
def test_an_error_without_a_number_is_the_writers_and_one_with_it_the_disks(tmp_path, raised, passes):
    """Pillow's own are of the first kind, and passed for a disk's."""
    with pytest.raises(OSError if passes else WriterError) as error, blaming("mine", tmp_path / "m.x", "a.png"):
        raise raised
    assert (error.value is raised) == passes
    assert passes or "the writer 'mine' failed on a.png at " in str(error.value)
