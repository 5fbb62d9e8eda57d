"""The recipes of the packaged weights."""

from pathlib import Path

import pytest

from benchmarks.quality import pretrained as recipes
from benchmarks.quality.pretrained import RECIPES
from configs import folder
from ddim_jax import pretrained
from ddim_jax.checkpoints.weights import open_weights
from ddim_jax.config import resolve_config, saved_config, without_paths
from ddim_jax.runtime.errors import CheckpointError


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
    assert saved_config(Path(name), open_weights(name).metadata) == expected


def test_a_folder_with_the_name_of_the_weights_is_no_hindrance(tmp_path, monkeypatch):
    (tmp_path / "lung_xray").mkdir()
    monkeypatch.chdir(tmp_path)
    done = []

    def evaluate(checkpoint, split, **more):
        done.append((checkpoint, split))
        dice = {"mean": 0.5 if checkpoint == pretrained.file_of("lung_xray") else 0.75}
        return {"protocols": {"mean": {"per_image": {"dice": dice}}}}, None

    monkeypatch.setattr(recipes, "train_to_end", lambda config, run: done.append("trained"))
    monkeypatch.setattr(recipes, "evaluate_checkpoint", evaluate)
    monkeypatch.setattr(recipes, "pack", lambda run, output, **more: done.append(more["terms"]))
    found = recipes.make("lung_xray", Path("lung_xray"), Path("runs"), Path("new.safetensors"), {})
    assert found == {"made": 0.75, "packaged": 0.5}
    own = open_weights(pretrained.file_of("lung_xray")).metadata["data"]["terms"]
    assert done == [
        "trained", (Path("runs/lung_xray_1"), "val"), own, (pretrained.file_of("lung_xray"), "val"),
    ]  # fmt: skip
    # What the file says is read before the hours of training.
    done.clear()
    monkeypatch.setattr(recipes, "file_of", lambda name: tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError):
        recipes.make("lung_xray", Path("lung_xray"), Path("runs"), Path("other.safetensors"), {})
    assert not done
