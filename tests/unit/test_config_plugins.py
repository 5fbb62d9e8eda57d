"""Configs of networks from other packages, and the page that lists every field."""

import re
import sys
from pathlib import Path

import flax.linen as nn
import pytest
from test_config import changed
from tiny_runs import tiny_config

from ddim_jax.cli.fields import markdown
from ddim_jax.config import create_config, resolve_config, saved_config
from ddim_jax.fields import fields_of
from ddim_jax.inference import Segmenter
from ddim_jax.models import model_spec
from ddim_jax.registry import MODELS, import_plugins
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.schema import SCHEMA
from ddim_jax.training import train

PLUGIN = """
import flax.linen as nn
from ddim_jax.registry import register


@register.model("elsewhere")
class Elsewhere(nn.Module):
    width: int = 4
    size_multiple = 1

    @nn.compact
    def __call__(self, noisy_mask, image, t, *, train=False):
        return nn.Dense(1)(nn.tanh(nn.Dense(self.width)(image))) + noisy_mask
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "elsewhere_net.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS.items()))
    yield "elsewhere_net"
    sys.modules.pop("elsewhere_net", None)


def test_a_network_of_a_plugin_is_known_when_its_config_is_read(plugin):
    config = tiny_config()
    config["model"] = {"name": "elsewhere", "preset": None, "overrides": {"width": 3}}
    with pytest.raises(ConfigError, match=r"model\.name is 'elsewhere'"):
        resolve_config(config)
    config["plugins"] = [plugin]
    assert resolve_config(config) == config
    assert isinstance(model_spec("elsewhere").create(), nn.Module)
    assert saved_config(Path("a/metadata"), {"config": config}) == config
    assert create_config().model.overrides.width is None  # once it is known
    with pytest.raises(ConfigError, match="model has no field 'norm_groups'; it has width"):
        resolve_config(changed("model.overrides.norm_groups", 4, config))


def test_two_networks_may_have_fields_of_one_name_and_two_types(plugin):
    @MODELS.register("other")
    class Other(nn.Module):
        width: tuple = (1, 2)
        size_multiple = 1

    import_plugins((plugin,))
    config = tiny_config() | {"plugins": [plugin]}
    for model, value, wrong in (("elsewhere", 3, "3"), ("other", [3], 3)):
        config["model"] = {"name": model, "preset": None, "overrides": {"width": value}}
        base = create_config()
        base.model.overrides.width = value
        assert base.model.overrides.width == value
        assert resolve_config(config) == config
        with pytest.raises(ConfigError, match=rf"model\.overrides\.width is {re.escape(repr(wrong))}; expected"):
            resolve_config(changed("model.overrides.width", wrong, config))


@pytest.mark.slow
def test_a_network_of_a_plugin_is_trained_and_found_again_by_its_checkpoint(plugin, tmp_path):
    config = tiny_config(steps=2, warmup_steps=0)
    config["model"] = {"name": "elsewhere", "preset": None, "overrides": {}}
    config["plugins"] = [plugin]
    config["systems"] = {}  # what is not set is the paper's, as for every denoiser that declares nothing
    config["sample"] |= {"steps": None, "clip_x0": 1.0}
    config["diffusion"] |= {"num_train_timesteps": None, "beta_end": None}
    assert train(config, tmp_path / "run") == 2
    del sys.modules[plugin], MODELS._entries["elsewhere"]  # as in a process that has not heard of it
    segmenter = Segmenter.load(tmp_path / "run", step="latest")
    assert "elsewhere" in MODELS and segmenter.step == 2
    assert (segmenter.config["sample"]["steps"], segmenter.config["diffusion"]["num_train_timesteps"]) == (50, 1000)


def test_the_page_has_every_field_and_the_values_of_every_network(monkeypatch):
    own = ("ddim", "lightweight_ddim", "medsegdiff", "stochastic_unet", "trunk_ddim", "unet")
    monkeypatch.setattr(MODELS, "_entries", {name: MODELS.get(name) for name in own})
    page = markdown()
    for line in (
        "| `train.beta1` | a number from 0 to below 1 | `0.9` | Adam's beta1, decay of the mean of the gradient | no |",
        "| `frequency_bins` | a whole number from 1 to 256 | frequency bins of the FF-Parser |  |  | `16` |  |  |  |",
        "| `sample.steps` | `50` | `50` | `1000` | `1` | `50` | `1` |",
        "| `data.counts.val` | a whole number from 1 to 10000000 | `64` | number of phantoms of the val split | no |",
    ):
        assert line in page.splitlines()
    assert all(f"`{name}`" in page for name, _ in fields_of(SCHEMA))
    assert all(field.help for _, field in fields_of(SCHEMA))
