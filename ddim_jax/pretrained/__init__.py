"""Weights that travel with the package, by name: `ddim-jax sample --ckpt NAME`, `Segmenter.from_pretrained(NAME)`.

Each is a file of `ddim-jax pack` beside this one; docs/reference/models/ has a card for each. The weights carry the
terms of the pictures and masks that they were trained on, which are in the file and are said when it is loaded.
"""

from pathlib import Path

SHA256: dict[str, str] = {
    "lung_xray": "72e1332a4cb0f71fe2d9be7c5a73ab86839c6f1aa87e5631e8ee92e7dde19765",
    "polyp": "27d642c3ec0e578cc148cfdf62bff9ece0809c4bd43a08fcf784a491729df587",
    "skin_lesion": "478f67c0e020b5c74ff135d5b20788c36f1c0435baafce5c5ef2e3852f066387",
}
"""Name -> SHA-256 of its file, which is checked before anything in it is used."""


def file_of(name: str) -> Path:
    """The file of the weights of that name, one of `SHA256`."""
    return Path(__file__).parent / f"{name}.safetensors"
