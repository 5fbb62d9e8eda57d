"""The page docs/how-to/extend.md, executed."""

import re
import sys
from pathlib import Path

import pytest

from ddim_jax import registry

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "extend.md"
KINDS = {
    "MODELS": "three_layers",
    "SAMPLERS": "renoise",
    "DATASETS": "squares",
    "READERS": "numpy",
    "WRITERS": "box",
    "METRICS": "area_error",
    "ENSEMBLES": "unanimous",
}


@pytest.fixture(scope="module")
def my_module(tmp_path_factory):
    """The code of the page as the module that it speaks of; nothing of it stays registered."""
    registries = {kind: getattr(registry, kind) for kind in KINDS}
    before = {kind: {name for name in entries} for kind, entries in registries.items()}
    folder = tmp_path_factory.mktemp("plugins")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (folder / "my_module.py").write_text("\n".join(blocks), encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield "my_module"
    sys.path.remove(str(folder))
    sys.modules.pop("my_module", None)
    for kind, entries in registries.items():
        for name in set(entries) - before[kind]:
            del entries._entries[name]


def test_the_page_has_one_of_each(my_module):
    registry.import_plugins((my_module,))
    for kind, name in KINDS.items():
        assert name in getattr(registry, kind), kind
