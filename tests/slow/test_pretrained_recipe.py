"""All parts of a recipe of packaged weights, with a tiny network and a step each."""

import json

import numpy as np
from PIL import Image

from benchmarks.quality.pretrained import make
from ddim_jax.checkpoints.weights import open_weights

TINY = {
    "data.image_size": 16,
    "train.steps": 1,
    "train.warmup_steps": 0,
    "train.batch_size": 2,
    "train.checkpoint_every": 1,
    "model.overrides.base_channels": 8,
    "model.overrides.channel_multipliers": (1, 2),
}


def test_every_part_goes_on_from_the_one_before(tmp_path):
    rng, lines = np.random.default_rng(0), ["stem,split"]
    for number in range(24):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, number % 12 : number % 12 + 12] = 255
        for kind, pixels in (("images", mask // 2 + rng.integers(0, 99, mask.shape, np.uint8)), ("masks", mask)):
            (tmp_path / "set" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "set" / kind / f"{number}.png")
        lines.append(f"{number},{'val' if number < 12 else 'train'}")
    (tmp_path / "set/splits.csv").write_text("\n".join(lines) + "\n")
    dice = make("polyp", tmp_path / "set", tmp_path / "runs", tmp_path / "polyp.safetensors", TINY)
    assert set(dice) == {"made", "packaged"} and 0 <= dice["made"] <= 1
    configs = [json.loads((tmp_path / f"runs/polyp_{part}/config.json").read_text()) for part in range(1, 6)]
    runs = tmp_path / "runs"
    begun = [
        None,
        *(f"{runs}/polyp_{part}" for part in (1, 2)),
        *(f"{runs}/polyp_{part}/checkpoints/1" for part in (3, 4)),
    ]
    assert [config["train"]["init_from"] for config in configs] == begun
    assert [config["data"]["empty_windows"] for config in configs] == [0, 0, 0.3, 0.5, 0.5]
    assert [config["data"]["erased"] for config in configs] == [0, 0, 0, 0, 0.1]
    made, packaged = open_weights(tmp_path / "polyp.safetensors"), open_weights("polyp")
    assert [made.metadata["data"][name] == packaged.metadata["data"][name] for name in ("note", "terms")] == [True] * 2
    assert made.metadata["calibration"]["about"]["images"] == 12
