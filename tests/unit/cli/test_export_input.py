"""The images that `ddim-jax export` checks its file with: all are read before the conversion."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ddim_jax.cli import export
from ddim_jax.sampling_options import SamplingOptions


@pytest.fixture
def conversions(monkeypatch):
    """The images of each conversion that `export.run` comes to."""
    network, done = SimpleNamespace(config={"data": {"image_size": 8}}), []

    def converted(network, sampling, kind, output, *, batch, pictures):
        done.append(list(pictures))
        return SimpleNamespace(pictures=len(done[-1]), path=output, bytes=1, differences={"mask": 0})

    monkeypatch.setattr(export, "load_network", lambda *arguments: network)
    monkeypatch.setattr(export, "in_float32", lambda given: given)
    monkeypatch.setattr(export, "export_checkpoint", converted)
    monkeypatch.setattr(export, "options_given", lambda *given: {})
    monkeypatch.setattr(export.SamplingOptions, "create", lambda config, **given: SamplingOptions())
    return done


@pytest.mark.parametrize("damaged", [0, 2])
def test_an_image_that_cannot_be_read_ends_it_before_the_conversion(conversions, damaged, tmp_path, capsys):
    for number in range(3):
        Image.fromarray(np.full((4, 5), 10 * number, np.uint8)).save(tmp_path / f"{number}.png")
    given = ["--ckpt", "RUN", "--format", "stablehlo", "--output", str(tmp_path / "x.zip"), "--input", str(tmp_path)]
    options = export.parse_arguments(None, given)
    assert export.run(options) == 0
    assert [picture[0, 0].tolist() for picture in conversions[0]] == [[0] * 3, [10] * 3, [20] * 3]
    (tmp_path / f"{damaged}.png").write_bytes(b"no image")
    with pytest.raises(SystemExit):
        export.run(options)
    assert f"error: {tmp_path}/{damaged}.png: not an image this can read" in capsys.readouterr().err
    assert len(conversions) == 1
