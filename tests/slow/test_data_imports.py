"""The modules that a data set imports, each in an interpreter of its own."""

import subprocess
import sys

import numpy as np
from PIL import Image


def save_pair(image_path, mask_path):
    for path, shape in ((image_path, (12, 10, 3)), (mask_path, (12, 10))):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(shape, 255, np.uint8)).save(path)


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_folders_and_phantoms_need_neither_tensorflow_nor_its_datasets(tmp_path):
    save_pair(tmp_path / "images/a.png", tmp_path / "masks/a.png")
    (tmp_path / "splits.csv").write_text("stem,split\na,train\n")
    code = f"""
import sys
sys.modules["tensorflow_datasets"] = None
from ddim_jax.data import load_dataset
assert load_dataset("phantom", "val", image_size=16)[0].image.shape == (16, 16, 3)
assert load_dataset("folder", "train", root={str(tmp_path)!r})[0].image.shape == (12, 10, 3)
assert "tensorflow" not in sys.modules
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_a_training_or_a_segmenting_does_not_wait_for_what_few_need():
    """Libraries that take long to import, and are needed for some data, metrics or writers alone."""
    code = """
import sys
import ddim_jax.cli.sample
assert "orbax" not in sys.modules
import ddim_jax.cli.train
assert not {"scipy", "grain", "matplotlib", "pydicom", "nibabel", "tensorflow_datasets", "torch"} & set(sys.modules)
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_the_builders_do_not_import_tensorflow(tmp_path):
    for group in ("Covid", "Non_Covid", "Non_Covid_Pneumonia"):
        for number in range(4):
            folder = tmp_path / "data" / group
            save_pair(folder / f"images/{number}.png", folder / f"masks/{number}.png")
    code = f"""
import sys
from ddim_jax.data import load_dataset
source = load_dataset("rsua", "val", root={str(tmp_path / "data")!r}, cache_dir={str(tmp_path / "cache")!r})
assert source[0].image.shape == (12, 10, 3)
assert "tensorflow_datasets" in sys.modules and "tensorflow" not in sys.modules
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
