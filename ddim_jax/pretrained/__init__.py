"""Weights that travel with the package, by name: `ddim-jax sample --ckpt NAME`, `Segmenter.from_pretrained(NAME)`.

Each is a file of `ddim-jax pack` beside this one; docs/reference/models/ has a card for each. The weights carry the
terms of the images and masks that they were trained on, which are in the file and are said when it is loaded.
"""

from pathlib import Path

SHA256: dict[str, str] = {
    "lung_xray": "eea98834a0f7f31c594952c85312d55273bf2ae9d12757edd4455ba8468e40c6",
    "polyp": "97d86535a01fd12b29c05ce5439f2bd5f53eaf4f473742d82be59c77f730c2f1",
    "skin_lesion": "3eaecdd74c24bc418706c24f35f9a29e499b3ac09d62fb2f1c2886d4d18f1dce",
}
"""Name -> SHA-256 of its file, which is checked before anything in it is used."""


def file_of(name: str) -> Path:
    """The file of the weights of that name, one of `SHA256`."""
    return Path(__file__).parent / f"{name}.safetensors"
