"""One run of the comparison of the systems, on a GPU: the networks of full size in bfloat16.

Command: python -m benchmarks.quality.table1 --data DIR... --budget 240 --size 128 --networks full
One run: python train.py --config configs/table1_gpu.py:SYSTEM --config.data.root=DIR --config.train.steps=N
  The systems are those of configs/table1.py.
Expected: docs/explanation/results.md, once it was measured.
Cost: the budget, and compilation, validation and evaluation besides.
"""

from configs import fast, folder_gpu, table1


def get_config(system: str = "lightweight_ddim"):
    config = fast.full_size(table1.get_config(system))
    config.name = "table1_gpu"
    config.model.overrides.dtype = "bfloat16"
    config.data.image_size = 128
    config.train.batch_size = 20
    for name, rate in folder_gpu.LEARNING_RATES.items():
        config.systems[name].train.learning_rate = rate
    return config
