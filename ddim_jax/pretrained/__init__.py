"""Weights that travel with the package, by name: `ddim-jax sample --ckpt NAME`, `Segmenter.from_pretrained(NAME)`.

Each is a file of `ddim-jax pack` beside this one; docs/reference/models/ has a card for each. The weights carry the
terms of the pictures and masks that they were trained on, which are in the file and are said when it is loaded.
"""

from pathlib import Path

SHA256: dict[str, str] = {
    "lung_xray": "72e1332a4cb0f71fe2d9be7c5a73ab86839c6f1aa87e5631e8ee92e7dde19765",
    "polyp": "85794b9f036963684f99a244dc74d6f9e9c164513f67fbeb6ff1f08c7fa8a92d",
    "skin_lesion": "c8463f6c0faf86d8cb4a2bdc07824d300cd783d0dcc5534884b3409205b6371d",
}
"""Name -> SHA-256 of its file, which is checked before anything in it is used."""


def file_of(name: str) -> Path:
    """The file of the weights of that name, one of `SHA256`."""
    return Path(__file__).parent / f"{name}.safetensors"
