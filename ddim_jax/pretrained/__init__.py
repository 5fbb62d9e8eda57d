"""Weights that travel with the package, by name: `ddim-jax sample --ckpt NAME`, `Segmenter.from_pretrained(NAME)`.

Each is a file of `ddim-jax pack` beside this one; docs/reference/models/ has a card for each. The weights carry the
terms of the images and masks that they were trained on, which are in the file and are said when it is loaded.
"""

from pathlib import Path

SHA256: dict[str, str] = {
    "lung_xray": "1040525e6c78e44777e588a5399c129da6bf44f2d0fc44cfc4aa0dfea16429ef",
    "polyp": "a8c5b9b36a298319cf66050f81e91ee355210724292c4d0251081dee94437df0",
    "skin_lesion": "172ad402cad57dfb995fc02ad3a34b1459f29241100ef2545e00aee95a883b3a",
}
"""Name -> SHA-256 of its file, which is checked before anything in it is used."""


def file_of(name: str) -> Path:
    """The file of the weights of that name, one of `SHA256`."""
    return Path(__file__).parent / f"{name}.safetensors"
