"""Weights that travel with the package, by name: `ddim-jax sample --ckpt NAME`, `Segmenter.from_pretrained(NAME)`.

Each is a file of `ddim-jax pack` beside this one; docs/reference/models/ has a card for each. The weights carry the
terms of the pictures and masks that they were trained on, which are in the file and are said when it is loaded.
"""

from pathlib import Path

SHA256: dict[str, str] = {
    "lung_xray": "e98ec25889b1e9388fb350b466dd1ff556e840180975bd1cf03277eddba74846",
    "polyp": "f7ceeea86036eafd144603bae2622a3150d8fc90519ecafa96763d83d842a936",
    "skin_lesion": "478f67c0e020b5c74ff135d5b20788c36f1c0435baafce5c5ef2e3852f066387",
}
"""Name -> SHA-256 of its file, which is checked before anything in it is used."""


def file_of(name: str) -> Path:
    """The file of the weights of that name, one of `SHA256`."""
    return Path(__file__).parent / f"{name}.safetensors"
