import pytest
from PIL import Image
from segmenters import picture, tiny_segmenter

from ddim_jax.inference import Segmenter


@pytest.fixture(scope="session")
def tiny():
    """Compiled once for all tests that use it at its default settings."""
    return tiny_segmenter()


@pytest.fixture
def folder(tmp_path):
    """Five images of different sizes, one in a folder below."""
    for seed, name in enumerate(["a.png", "b.png", "c.png", "d.png", "sub/e.png"]):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed, 12 + seed, 20)).save(path)
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def started(monkeypatch):
    """The sizes of the images that are sampled, in any order: they are prepared in threads."""
    sizes = []
    prepare = Segmenter.prepare

    def counting(self, image, *arguments):
        sizes.append(image.shape[:2])
        return prepare(self, image, *arguments)

    monkeypatch.setattr(Segmenter, "prepare", counting)
    return sizes
