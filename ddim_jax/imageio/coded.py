"""Coded categories and types of segments, by the names of their SNOMED CT concepts."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from ddim_jax.imageio.clinic import library
from ddim_jax.runtime.errors import InputError

_CATEGORY_OF_TYPES = {
    "cid7192": "AnatomicalStructure",
    "cid7194": "MorphologicallyAbnormalStructure",
    "cid7191": "Tissue",
    "cid7193": "PhysicalObject",
    "cid7195": "Function",
    "cid7196": "SpatialAndRelationalConcept",
    "cid7197": "BodySubstance",
    "cid7198": "Substance",
}
"""Context groups of DICOM PS3.16 that list the types of each category."""


def parse_segments(texts: Iterable[str], classes: Iterable[str]) -> dict[str, str]:
    """The concept of each class, unchecked, from `data.segments` or `--segments`: NAME=TYPE or NAME=CATEGORY/TYPE.

    Raises:
      InputError: a text has no such form or a name that is no class; both are named.
    """
    classes, found = tuple(classes), {}
    for text in texts:
        name, equals, concept = text.partition("=")
        if not equals and len(classes) == 1:
            name, concept = classes[0], text
        if classes == ("foreground",) and concept and name not in classes:
            raise InputError(f"segments has {text!r}; for one class without a name write --segments {concept}")
        if not concept or name not in classes:
            raise InputError(f"segments has {text!r}; expected NAME=CONCEPT with a name among {', '.join(classes)}")
        found[name] = concept
    return found


def coded(segments: Mapping[str, str], classes: Iterable[str]) -> list[tuple[Any, Any]]:
    """Category and type of each class, in their order, as pydicom's `Code`.

    A concept is the name that pydicom has for it in SNOMED CT, such as Lung, or SCHEME:VALUE:MEANING. The category may
    be left out where DICOM lists the type under one alone.

    Raises:
      InputError: a class has no concept, or one that is not known; what is expected is said.
    """
    pairs = []
    for name in classes:
        if name not in segments:
            raise InputError(
                f"the class {name!r} has no coded concept, which DICOM-SEG needs; say what it is with --segments "
                f"'{name}=Lung', or data.segments in the config: a SNOMED CT name such as Lung, Heart or Lesion, or "
                "CATEGORY/TYPE"
            )
        category, slash, kind = segments[name].rpartition("/")
        pairs.append((_category(name, category) if slash else _category_of(name, kind), _code(name, kind)))
    return pairs


def _category(name: str, text: str) -> Any:
    codes = library("pydicom.sr.codedict").codes
    if ":" in text:
        return _code(name, text)
    if text not in codes.cid7150.dir():
        raise InputError(f"the category of {name!r} is {text!r}; expected one of {', '.join(codes.cid7150.dir())}")
    return getattr(codes.cid7150, text)


def _category_of(name: str, kind: str) -> Any:
    codes = library("pydicom.sr.codedict").codes
    found = [category for group, category in _CATEGORY_OF_TYPES.items() if kind in getattr(codes, group).dir()]
    if len(found) != 1:
        _code(name, kind)  # which may not be known at all
        raise InputError(
            f"the category of {name!r} is not clear from {kind!r} ({', '.join(found) or 'listed under none'}); "
            f"expected CATEGORY/{kind} with one of {', '.join(codes.cid7150.dir())}"
        )
    return getattr(codes.cid7150, found[0])


def _code(name: str, text: str) -> Any:
    pydicom = library("pydicom.sr.codedict")
    if ":" in text:
        parts = text.split(":", 2)
        if len(parts) != 3 or not all(parts):
            raise InputError(f"the concept of {name!r} is {text!r}; expected SCHEME:VALUE:MEANING")
        scheme, value, meaning = parts
        return pydicom.Code(value, scheme, meaning)
    names = pydicom.codes.SCT.dir()
    if text not in names:
        near = difflib.get_close_matches(text, names, n=3)
        raise InputError(
            f"the concept of {name!r} is {text!r}, which is no name of a SNOMED CT concept in DICOM"
            + (f"; did you mean {', '.join(near)}?" if near else "; expected one, or SCHEME:VALUE:MEANING")
        )
    return getattr(pydicom.codes.SCT, text)
