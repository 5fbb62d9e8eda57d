"""The classes of a mask: their names, and which values of a file stand for them.

One value travels whole from the config to the readers, the network, the loss, the metrics and the writers. Everything
that depends on the number of classes asks it.

A decoded mask is uint8 [H, W]: 0 is background, k = 1 .. K the class, `IGNORED` a pixel that counts nowhere: in no
loss, no metric, no calibration. Where classes may overlap (`multilabel`), bit k - 1 is class k.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.values import is_whole

IGNORED = 255
"""The value of ignored pixels in a decoded mask."""
BACKGROUND = "background"
"""The name in `data.labels` of further values that are background, as 0 is."""
_MOST = 254
_MOST_BITS = 7
_SMALLEST_VALUE, _LARGEST_VALUE = -(2**15), 2**16 - 1  # negative ones for what is no class: ignored, background
_ABOUT = 'names with numbers, such as {"lung": [1, 2], "heart": 3}, or one number or list for a single class'
_OTHER_SIDE = {"left": "right", "l": "r"}


@dataclasses.dataclass(frozen=True)
class Labels:
    """The classes of a data set; `Labels()` is one class, which a file holds as the brighter of two levels.

    Attributes:
      names: of the classes 1 .. K, in the order of their smallest value; () for one class read by level.
      values: for each class the values that stand for it in a file, ascending.
      ignore: the values of pixels that count nowhere.
      multilabel: whether a pixel can belong to several classes: a value of the file to those that list it.
      background: the values of the background; 0, where it is not ignored, and those named so.
    """

    names: tuple[str, ...] = ()
    values: tuple[tuple[int, ...], ...] = ()
    ignore: tuple[int, ...] = ()
    multilabel: bool = False
    background: tuple[int, ...] = (0,)

    @classmethod
    def create(cls, labels: Any = None, ignore: Any = (), multilabel: bool = False) -> "Labels":
        """Labels from the values of the fields `data.labels`, `data.ignore` and `data.multilabel` of a config.

        Raises:
          ConfigError: they cannot be used; the field and what is expected are named.
        """
        if labels is None or (isinstance(labels, Mapping) and not labels):
            named = {}
        elif isinstance(labels, Mapping):
            named = {
                name: _numbers(f"data.labels.{name}", values, _SMALLEST_VALUE if name == BACKGROUND else 0)
                for name, values in labels.items()
            }
        elif is_whole(labels, 0) or isinstance(labels, list | tuple):
            named = {"foreground": _numbers("data.labels", labels)}
        else:
            raise ConfigError(f"data.labels is {labels!r}; expected {_ABOUT}")
        ignored = tuple(sorted(_numbers("data.ignore", ignore, _SMALLEST_VALUE, empty=True)))
        further = named.pop(BACKGROUND, ())
        if further and not named:
            raise ConfigError(f"data.labels names the {BACKGROUND} alone; expected a class besides")
        for name in named:
            if not (isinstance(name, str) and name[:1].isalnum() and name.isprintable() and len(name) <= 64):
                raise ConfigError(
                    f"data.labels has the name {name!r}; expected up to 64 characters, a letter or a digit first"
                )
        found = cls(
            names=tuple(sorted(named, key=lambda name: (sorted(named[name]), name))),
            values=tuple(sorted(tuple(sorted(values)) for values in named.values())),
            ignore=ignored,
            multilabel=bool(multilabel),
            background=tuple(sorted({*further, *({0} - set(ignored))})),
        )
        found._check()
        return found

    @classmethod
    def from_config(cls, data: Mapping[str, Any]) -> "Labels":
        """The labels of the section `data` of a resolved config; errors as `create`."""
        return cls.create(data.get("labels"), data.get("ignore") or (), data.get("multilabel", False))

    def _check(self) -> None:
        most = _MOST_BITS if self.multilabel else _MOST
        if len(self.names) > most:
            raise ConfigError(f"data.labels has {len(self.names)} classes; expected at most {most}")
        if self.multilabel and not self.names:
            raise ConfigError("data.multilabel is True and data.labels names no class; expected " + _ABOUT)
        seen: dict[int, str] = dict.fromkeys(self.ignore, "data.ignore") | dict.fromkeys(
            self.background, "the background"
        )
        for value in set(self.ignore) & set(self.background):
            raise ConfigError(f"data.labels and data.ignore both have the value {value}; expected one of them")
        for name, values in zip(self.names, self.values, strict=True):
            for value in values:
                other = seen.get(value)
                if other is not None and not (self.multilabel and other in self.names):
                    raise ConfigError(
                        f"data.labels gives the value {value} to {name!r} and to {other}; expected one of them"
                        + ("" if self.multilabel else ", or data.multilabel for structures that overlap")
                    )
                seen[value] = name

    @property
    def count(self) -> int:
        """K, the number of classes."""
        return max(1, len(self.names))

    @property
    def several(self) -> bool:
        """True for more than one class: probabilities then have an axis for them, [..., K], class k at k - 1."""
        return self.count > 1

    @property
    def exclusive(self) -> bool:
        """True for several classes of which a pixel has one or none: their probabilities add up to at most 1."""
        return self.several and not self.multilabel

    @property
    def channels(self) -> int:
        """The mask's channels in the network: 1 for one class, K + 1 for exclusive ones, background first, else K."""
        return self.count + 1 if self.exclusive else self.count

    @property
    def by_value(self) -> bool:
        """True if files are read by their exact values, False if by the level."""
        return bool(self.names or self.ignore)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes 1 .. K."""
        return self.names or ("foreground",)

    def mirrored(self) -> tuple[str, str] | None:
        """The names of the first two classes that a mirror image exchanges: "left lung" and "right lung", say."""
        # Of LeftLung and lungL the words are told apart as of Left_Lung and lung_L.
        by_name = {re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower(): name for name in self.class_names}
        for name, own in by_name.items():
            other = re.sub(r"(?<![a-z])(left|l)(?![a-z])", lambda side: _OTHER_SIDE[side[0]], name)
            if other != name and other in by_name:
                return own, by_name[other]
        return None

    def codes(self) -> dict[int, int]:
        """The number in a decoded mask of each value that a file may hold."""
        found = dict.fromkeys(self.background, 0) | dict.fromkeys(self.ignore, IGNORED)
        for number, values in enumerate(self.values, start=1):
            for value in values:
                found[value] = found.get(value, 0) | 1 << (number - 1) if self.multilabel else number
        return found

    def of_class(self, mask: np.ndarray, number: int) -> np.ndarray:
        """The pixels of class `number`, 1 .. K, in a decoded mask of any shape: boolean; ignored ones are not."""
        if self.multilabel:
            return (mask & np.uint8(1 << (number - 1)) != 0) & (mask != IGNORED)
        return mask == number

    def maps(self, probability: np.ndarray) -> np.ndarray:
        """A view [K, H, W] of a probability [H, W], of several classes [H, W, K]: that of each class."""
        return np.moveaxis(probability if self.several else probability[..., np.newaxis], -1, 0)

    def valid(self, mask: np.ndarray) -> np.ndarray:
        """The pixels of a decoded mask that count: boolean, the shape of `mask`."""
        return mask != IGNORED

    def as_config(self) -> dict[str, Any]:
        """The values of the fields of a config that give these labels again, in one form."""
        labels: dict[str, Any] = {name: list(values) for name, values in zip(self.names, self.values, strict=True)}
        further = [value for value in self.background if value != 0]
        if labels and further:
            labels[BACKGROUND] = further
        return {"labels": labels or None, "ignore": list(self.ignore), "multilabel": self.multilabel}


def _numbers(field: str, values: Any, low: int = 0, *, empty: bool = False) -> tuple[int, ...]:
    """One whole number from `low` on, or a list of them, without repetition."""
    listed = tuple(values) if isinstance(values, list | tuple) else (values,)
    if not all(is_whole(value, low) and value <= _LARGEST_VALUE for value in listed) or not (listed or empty):
        raise ConfigError(
            f"{field} is {values!r}; expected a whole number from {low} to {_LARGEST_VALUE}, or a list of them"
        )
    return tuple(dict.fromkeys(listed))
