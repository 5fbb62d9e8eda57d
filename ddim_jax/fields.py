"""A field of a configuration: what its values may be, said in words and checked."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.values import is_number, is_whole

Resume = Literal["same", "length", "free", "ignored"]
"""May a run go on with another value? "same": no. "length": where the learning rate is constant. "free": yes, it holds
from there on. "ignored": yes, nothing depends on it any more."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
      type: str, bool, int, float (which takes whole numbers too), tuple (of `items`), or dict: a mapping of names to
        whole numbers or lists of them, or one of these alone.
      default: None where there is none; with `of_model` the model's own default stands there.
      help: one line for the reference, without a full stop.
      low, high: bounds of a number, or of each item of a tuple; they may be reached.
      above, below: bounds of a float that may not be reached.
      multiple: an int has to be a multiple of it.
      choices: the texts that there are, looked up when a value is checked.
      items: int, float or str: the type of the items of a tuple.
      lengths: the least and the largest number of items of a tuple.
      optional: whether None is a value.
      of_model: whether None stands for the default that the model declares.
      resume: whether a run may go on with another value.
    """

    type: type
    default: Any = None
    help: str = ""
    _: dataclasses.KW_ONLY
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    multiple: int = 1
    choices: Iterable[str] | None = None
    items: type = int
    lengths: tuple[int, int] = (0, 64)
    optional: bool = False
    of_model: bool = False
    resume: Resume = "same"

    def check(self, name: str, value: Any) -> None:
        """Refuses a value that the field cannot have.

        Raises:
          ConfigError: names the field, the value and what is expected.
        """
        if not self.takes(value):
            raise ConfigError(f"{name} is {value!r}; expected {self.expected()}")

    def takes(self, value: Any) -> bool:
        """Returns True if the field can have that value; a tuple may be a list, as JSON has it."""
        if value is None:
            return self.optional
        if self.type is tuple:
            item = dataclasses.replace(self, type=self.items, optional=False)
            least, most = self.lengths
            return isinstance(value, tuple | list) and least <= len(value) <= most and all(map(item.takes, value))
        if self.type is dict:
            return isinstance(value, Mapping | tuple | list) or is_whole(value, 0)
        if self.type is bool:
            return isinstance(value, bool)
        if self.type is str:
            return isinstance(value, str) and (self.choices is None or value in self.choices)
        if not (is_whole(value, -(2**63)) if self.type is int else is_number(value)):
            return False
        bounds = (
            self.low is None or value >= self.low,
            self.high is None or value <= self.high,
            self.above is None or value > self.above,
            self.below is None or value < self.below,
        )
        return all(bounds) and abs(value) < float("inf") and (self.type is float or value % self.multiple == 0)

    def expected(self) -> str:
        """The values that the field can have, in words."""
        if self.type is tuple:
            item = dataclasses.replace(self, type=self.items, optional=False).expected()
            words = f"{self.lengths[0]} to {self.lengths[1]} values, each {item}"
        elif self.type is dict:
            words = "names with whole numbers or lists of them, or one of these alone"
        elif self.type is bool:
            words = "true or false"
        elif self.type is str:
            words = "a text" if self.choices is None else f"one of {', '.join(self.choices)}"
        else:
            words = "a number" if self.type is float else "a whole number"
            words = f"a multiple of {self.multiple}" if self.multiple > 1 else words
            bounds = (("from", self.low), ("above", self.above), ("to", self.high), ("to below", self.below))
            words = " ".join([words, *(f"{where} {bound}" for where, bound in bounds if bound is not None)])
        return f"{words} or none" if self.optional else words
