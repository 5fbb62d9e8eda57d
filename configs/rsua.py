"""The paper's chest X-ray experiment: lungs on RSUA, 292 pairs at 256 x 256.

Command: python train.py --config configs/rsua.py --config.data.root=DIR
Data: RSUA Chest X-Ray Dataset, Mendeley Data 10.17632/2jg8vfdmpm.1 (CC BY 4.0); DIR holds it as unpacked. No split is
  published: a seeded 8:1:1 split is made once and written out.
Paper: recall/Dice .9427/.9693 (its Table 1; the text counts 371 + 292 pairs, the published set has 292).
Cost: not measured here; configs/folder_gpu.py reaches good masks of such images in minutes on one GPU.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "rsua"
    config.data.name = "rsua"
    return config
