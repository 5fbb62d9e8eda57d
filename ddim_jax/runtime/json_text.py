"""JSON that others may have written or damaged."""

import json
import re
from typing import Any

# Deeper than any file written here; far from the interpreter's limit, at which finalizers that happen to run fail too.
_DEEPEST = 64
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|([\[{])|([\]}])', re.DOTALL)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; bytes are UTF-8.

    Raises:
      ValueError: it is none, or its lists and objects lie more than 64 deep in each other.
    """
    text = text if isinstance(text, str) else text.decode("utf-8")
    if text.count("[") + text.count("{") > _DEEPEST and _depth(text) > _DEEPEST:
        raise ValueError(f"lists and objects more than {_DEEPEST} deep in each other")
    return json.loads(text)


def _depth(text: str) -> int:
    deepest = depth = 0
    for found in _BRACKETS.finditer(text):
        if found[1]:
            depth += 1
            deepest = max(deepest, depth)
        elif found[2]:
            depth -= 1
    return deepest
