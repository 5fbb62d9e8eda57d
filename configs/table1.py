"""One run of the comparison of the systems, on a CPU: small networks of the same levels and widths, a stem of 2 x 2.

Command: make table1-cpu DATA='DIR...'    (all of them)
One run: python train.py --config configs/table1.py:SYSTEM --config.data.root=DIR --config.train.steps=N
  SYSTEM is lightweight_ddim, trunk_ddim, ddim (as configs/fast.py: the mask in one step), lightweight_ddim_noise,
  ddim_noise (both as the paper: the noise, 50 steps), unet or medsegdiff.
Expected: docs/explanation/results.md, which says what was measured.
Cost: the budget, and compilation, validation and evaluation besides.
"""

from configs import base, fast

SYSTEMS = ("lightweight_ddim", "unet", "trunk_ddim", "ddim", "medsegdiff", "lightweight_ddim_noise", "ddim_noise")
"""In the order of their value to the comparison."""


def get_config(system: str = "lightweight_ddim"):
    if system not in SYSTEMS:
        raise ValueError(f"{system!r} is not a system of the comparison; expected one of {', '.join(SYSTEMS)}")
    config = fast.get_config()
    config.name = "table1"
    config.model.name = system.removesuffix("_noise")
    for name in ("lightweight_ddim", "ddim"):
        if system.endswith("_noise"):
            config.systems[name] = base.get_config().systems[name]
        config.systems[name].train.learning_rate = 2e-3  # with the noise too
    fast.set_levels(config, *fast.LEVELS)
    config.data.name = "folder"
    config.train.steps = 1000  # stands for what the budget buys
    return config
