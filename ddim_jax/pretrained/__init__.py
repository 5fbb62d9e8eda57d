"""Weights that travel with the package, by name: `ddim-jax sample --ckpt NAME`, `Segmenter.from_pretrained(NAME)`.

Each is a file of `ddim-jax pack` beside this one; docs/reference/models/ has a card for each. The weights carry the
terms of the images and masks that they were trained on, which are in the file and are said when it is loaded.
"""

from pathlib import Path

SHA256: dict[str, str] = {
    "lung_xray": "dd10697af05183760faa165e389269c01a75efb7cee5c2e21b5c79a4c9391dcb",
    "polyp": "96e906120b504ad9091ee20d025fa0aaba85523e62cfbda72f84cf6e5747c19f",
    "skin_lesion": "bf8b047ffbc41e1694d1349f99569152a11715ed4e0be0d48435ae9911df5c3d",
}
"""Name -> SHA-256 of its file, which is checked before anything in it is used."""


def file_of(name: str) -> Path:
    """The file of the weights of that name, one of `SHA256`."""
    return Path(__file__).parent / f"{name}.safetensors"
