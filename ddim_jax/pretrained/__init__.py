"""Weights that travel with the package, by name: `ddim-jax sample --ckpt NAME`, `Segmenter.from_pretrained(NAME)`.

Each is a file of `ddim-jax pack` beside this one; docs/reference/models/ has a card for each. The weights carry the
terms of the pictures and masks that they were trained on, which are in the file and are said when it is loaded.
"""

from pathlib import Path

SHA256: dict[str, str] = {
    "lung_xray": "12cebb38bcb2de45869e5cfb1acc8cbe2e6367e8f7569e195dd7f10fefe09cc0",
    "skin_lesion": "5cf4c0915438223633cfce0cd135eda941bfacd2d56980be914810e8fe8563fb",
}
"""Name -> SHA-256 of its file, which is checked before anything in it is used."""


def file_of(name: str) -> Path:
    """The file of the weights of that name, one of `SHA256`."""
    return Path(__file__).parent / f"{name}.safetensors"
