"""The recipes of the packaged weights."""

import pytest

from benchmarks.quality.pretrained import RECIPES
from configs import folder
from ddim_jax import pretrained
from ddim_jax.checkpoints.weights import open_weights
from ddim_jax.config import resolve_config, without_paths
from ddim_jax.fields import with_added
from ddim_jax.schema import SCHEMA


def test_every_file_has_one():
    assert RECIPES.keys() == pretrained.SHA256.keys()
    for recipe in RECIPES.values():
        assert len(recipe.parts) == len(recipe.step)


@pytest.mark.parametrize("name", RECIPES)
def test_the_last_part_is_the_config_of_the_file(name):
    recipe = RECIPES[name]
    config = recipe.config.get_config()
    config.name = folder.get_config().name  # the files are older than skin.py and polyp.py
    config.update_from_flattened_dict(dict(recipe.parts[-1]))
    expected = without_paths(resolve_config(config))
    expected["data"]["segments"] = [f"foreground={segment}" for segment in recipe.segments]
    assert with_added(open_weights(name).metadata["config"], SCHEMA) == expected
