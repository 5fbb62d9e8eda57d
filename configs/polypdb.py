"""The paper's colonoscopy experiment: polyps on PolypDB, 3,934 pairs of five modalities, resized to 256 x 256.

Command: python train.py --config configs/polypdb.py --config.data.root=DIR
Data: PolypDB, osf.io/pr7ms; DIR holds PolypDB_modality_wise and, for the official split (3150, 392 and 392 images,
  the paper's counts), the folder dataset-split of github.com/DebeshJha/PolypDB. Without it a split of the same sizes is
  drawn by a fixed seed.
Paper: light DDIM, 50 steps x 5 samples; its Table 1 says recall/Dice .7161/.7681, its section 5.2 .6345/.7078.
Cost: not measured here.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "polypdb"
    config.data.name = "polypdb"
    return config
