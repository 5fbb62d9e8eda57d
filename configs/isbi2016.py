"""The paper's dermoscopy experiment: lesions on ISBI 2016 part 1, 900 + 379 pairs, resized to 256 x 256.

Command: python train.py --config configs/isbi2016.py --config.data.root=DIR
Data: ISIC challenge 2016, part 1; DIR holds the four folders ISBI2016_ISIC_Part1_{Training,Test}_{Data,GroundTruth}.
  The published training and test parts are kept; validation is a seeded tenth of the training part.
Paper: recall/Dice .8450/.8816 (its Table 1).
Cost: not measured here.
"""

from configs import base


def get_config():
    config = base.get_config()
    config.name = "isbi2016"
    config.data.name = "isbi2016"
    return config
