"""Weights that travel with the package, by name: `ddim-jax sample --ckpt NAME`, `Segmenter.from_pretrained(NAME)`.

Each is a file of `ddim-jax pack` beside this one; docs/reference/models/ has a card for each. The weights carry the
terms of the images and masks that they were trained on, which are in the file and are said when it is loaded.
"""

from pathlib import Path

SHA256: dict[str, str] = {
    "lung_xray": "8730e6659b7fba13d3beda164581713e4a82b50898f2aa8b9d9a14bf8dd73329",
    "polyp": "ab7292aaa545597a35dfc372fa72a97abe568b7760ed11da504218e4ef3e9e7a",
    "skin_lesion": "f6040adcb9af807152f205105d0b45b50e0308002d36251115e78ad83ef8b6a5",
}
"""Name -> SHA-256 of its file, which is checked before anything in it is used."""


def file_of(name: str) -> Path:
    """The file of the weights of that name, one of `SHA256`."""
    return Path(__file__).parent / f"{name}.safetensors"
