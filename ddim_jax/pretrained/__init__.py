"""Weights that travel with the package, by name: `ddim-jax sample --ckpt NAME`, `Segmenter.from_pretrained(NAME)`.

Each is a file of `ddim-jax pack` beside this one; docs/reference/models/ has a card for each. The weights carry the
terms of the pictures and masks that they were trained on, which are in the file and are said when it is loaded.
"""

from pathlib import Path

SHA256: dict[str, str] = {
    "lung_xray": "607b01296194f063258570ff5a3d2cf77d9d1e2981f751e36045c296e4a4b602",
    "polyp": "f0e70ea2e372f9e4ff7e838b36e290f38d49f0cbdb7dd1ec2a55ba4aa8eab5d2",
    "skin_lesion": "339e29c717130905f0ca094ffd2b41932cdca4cb680b527f97c3ec54b9de2af8",
}
"""Name -> SHA-256 of its file, which is checked before anything in it is used."""


def file_of(name: str) -> Path:
    """The file of the weights of that name, one of `SHA256`."""
    return Path(__file__).parent / f"{name}.safetensors"
