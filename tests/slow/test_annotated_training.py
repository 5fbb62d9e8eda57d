"""Trainings with several annotators."""

from tiny_runs import assert_same_bits, checkpoint, unet_config

from ddim_jax.training import train

COUNTS = {"train": 12, "val": 5, "test": 1}


def test_a_run_that_is_stopped_and_goes_on_ends_in_the_same_bits(tmp_path):
    for folder, lengths in (("whole", (5,)), ("parts", (3, 5))):
        for steps in lengths:
            config = unet_config(counts=COUNTS, steps=steps, checkpoint_every=10)
            config["data"]["name"] = "ambiguous"
            train(config, tmp_path / folder)
    assert_same_bits(checkpoint(tmp_path / "parts", 5), checkpoint(tmp_path / "whole", 5))
