"""The paper's setting, on which every other config builds; on its own it names no data.

Lightweight DDIM, noise prediction, Adam at 2e-5, batch 20, 2000 epochs, 50 steps x 5 samples. Images of 256 x 256,
the average of the weights and the constant learning rate are ours: the paper states none.
Any field can be set from the command line: --config.train.learning_rate=1e-4

Six systems can be trained: --config.model.name=lightweight_ddim, trunk_ddim, ddim, unet, stochastic_unet or medsegdiff.
What differs between them stands in `config.systems`, a section for each, laid out as the config itself. A field that is
None takes the value from there; one that is set holds for whatever system is chosen. config.json of a run has the
values used.

`ddim-jax fields` lists every field with its default, its range and what it means.
"""

from ml_collections import ConfigDict

from ddim_jax.config import create_config


def get_config() -> ConfigDict:
    return create_config()
