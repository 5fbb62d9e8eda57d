"""Registries of models, samplers, losses, data sets, transforms, readers, writers, metrics and ensembles.

    from ddim_jax import register

    @register.sampler("euler")
    def euler(...): ...

A thing registers itself where it is defined. This package's own are found without being listed: the first look-up
imports every module of the folder that holds them. Those of other packages register when they are imported; name the
module in the field `plugins` of a config, so that a checkpoint finds it again.
"""

import importlib
import inspect
import pkgutil
import threading
import traceback
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Generic, NoReturn, TypeVar

from ddim_jax.runtime.errors import ConfigError, InputError

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries of one kind by name.

    Args:
      kind: what an entry is, in the singular, for messages: "sampler".
      folder: the package whose modules register this package's own entries; None: it has none.
      *calls: the ways to call an entry, of which each has one (`call_of`): names of arguments, those behind a "*" by
        name. None given: not looked at.
    """

    def __init__(self, kind: str, folder: str | None, *calls: str):
        self.kind = kind
        self._folder = folder
        self._calls = calls
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}
        self._complete, self._finding = folder is None, False
        self._lock = threading.RLock()

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that registers what it decorates under `name` and returns it as it is.

        Raises:
          ConfigError: something else has that name, both are named by where they come from; or it cannot be called as
            things of this kind are.
        """
        caller = inspect.currentframe().f_back
        place = f"{caller.f_code.co_filename}, line {caller.f_lineno}"

        def add(entry: T) -> T:
            self._check_call(name, entry, place)
            origin, there = _origin(entry, place), self._entries.setdefault(name, entry)
            # A module that is imported again defines the same thing anew.
            if there is not entry and origin != self._origins.get(name):
                raise ConfigError(
                    f"{origin} registers a {self.kind} {name!r}, and so did {self._origins.get(name)}; expected "
                    "another name"
                )
            self._entries[name], self._origins[name] = entry, origin
            return entry

        return add

    def call_of(self, entry: T) -> str:
        """The first of the ways to call an entry that fits it.

        An argument that some are called with by name is given to an entry that has a parameter of that name, and not
        to others. What has a default needs no argument.

        Raises:
          TypeError: none fits; the error is that of the last one.
          ValueError: nothing is known of its parameters.
        """
        signature, why_not = inspect.signature(entry), TypeError("it declares other arguments")
        parts = {call: [part.replace(",", " ").split() for part in call.split("*")] for call in self._calls}
        by_name = {name for _, *rest in parts.values() for names in rest for name in names}
        declared = {name for name in by_name if name in signature.parameters}
        for call, (by_place, *rest) in parts.items():
            named = dict.fromkeys(name for names in rest for name in names)
            if len(self._calls) > 1 and named.keys() != declared:
                continue
            try:
                signature.bind(*by_place, **named)
                return call
            except TypeError as error:
                why_not = error
        raise why_not

    def _check_call(self, name: str, entry: T, place: str) -> None:
        if not self._calls:
            return
        try:
            self.call_of(entry)
        except (TypeError, ValueError) as error:
            calls = " or ".join(f"({call})" for call in self._calls)
            raise ConfigError(f"{place}: the {self.kind} {name!r} cannot be called as {calls}: {error}") from error

    def get(self, name: object, field: str | None = None) -> T:
        """The entry of that name.

        Args:
          name: of an entry.
          field: the field of a config that holds the name, for the message.

        Raises:
          ConfigError: there is none; the message lists those that there are.
        """
        self._find()
        if not isinstance(name, str) or name not in self._entries:
            raise ConfigError(f"{field or self.kind} is {name!r}; expected one of {', '.join(self)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._find()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """The names, in alphabetical order."""
        self._find()
        return iter(sorted(self._entries))

    def items(self) -> Iterator[tuple[str, T]]:
        """Names and entries, in alphabetical order."""
        return ((name, self._entries[name]) for name in self)

    def _find(self) -> None:
        if self._complete:
            return
        with self._lock:  # images are read by several threads, and the first of them must not see half of the readers
            if self._complete or self._finding:  # what is imported may look something up itself
                return
            self._finding = True
            try:
                package = importlib.import_module(self._folder)
                for module in pkgutil.iter_modules(package.__path__, f"{self._folder}."):
                    if not module.name.rpartition(".")[2].startswith("_"):
                        importlib.import_module(module.name)
                self._complete = True
            finally:
                self._finding = False


def _origin(entry: object, place: str) -> str:
    """The full name of a function or class of a module; of anything else, which may share its name, `place`."""
    name = "<bound>" if hasattr(entry, "__self__") else getattr(entry, "__qualname__", "<none>")
    return place if "<" in name else f"{entry.__module__}.{name}"


MODELS = Registry("model", "ddim_jax.models")
SAMPLERS = Registry(
    "sampler",
    "ddim_jax.diffusion.samplers",
    "denoise, noise, schedule, options, *, prediction, key, return_trajectory",
)
LOSSES = Registry("loss", "ddim_jax.diffusion.mask_losses", "logits, x0, labels")
DATASETS = Registry("data set", "ddim_jax.data.datasets")
TRANSFORMS = Registry("transform", None, "key, image, mask")
READERS = Registry("reader", "ddim_jax.imageio.readers")
WRITERS = Registry("writer", "ddim_jax.imageio.writers")
METRICS = Registry("metric", "ddim_jax.metrics", "counts", "prediction, truth", "prediction, truth, *, pixel_mm")
HYPOTHESIS_METRICS = Registry("metric of hypotheses", "ddim_jax.metrics", "hypotheses, annotators")
ENSEMBLES = Registry("ensemble", "ddim_jax.aggregation.ensembles")


class _Register(SimpleNamespace):
    def __getattr__(self, kind: str) -> NoReturn:
        raise AttributeError(f"there is no register.{kind}; expected one of {', '.join(sorted(vars(self)))}")


register = _Register(
    model=MODELS.register,
    sampler=SAMPLERS.register,
    loss=LOSSES.register,
    dataset=DATASETS.register,
    transform=TRANSFORMS.register,
    reader=READERS.register,
    writer=WRITERS.register,
    metric=METRICS.register,
    hypothesis_metric=HYPOTHESIS_METRICS.register,
    ensemble=ENSEMBLES.register,
)
"""Decorators, one for each kind: `@register.metric("dice")`."""


def import_plugins(modules: tuple[str, ...]) -> None:
    """Imports the modules that a config names in its field `plugins`, so that they register what they have.

    Raises:
      ConfigError: one of them cannot be found, or fails while it is imported: the place in it is named.
    """
    for name in modules:
        if not all(part.isidentifier() for part in name.split(".")):
            hint = ""
            if name.endswith(".py"):
                folder, _, file = name.rpartition("/")
                hint = f": {file.removesuffix('.py')}, with its folder in PYTHONPATH (PYTHONPATH={folder or '.'})"
            raise ConfigError(f"plugins names {name!r}; expected the name of a module, as package.module{hint}")
        try:
            importlib.import_module(name)
        except InputError:  # it registers something that cannot be, and is told so
            raise
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
                raise ConfigError(
                    f"plugins names {name!r}, which cannot be imported; install it, or put its folder into PYTHONPATH"
                ) from error
            raise ConfigError(f"plugins names {name!r}, which fails at {_place_of(error)}") from error


def _place_of(error: Exception) -> str:
    """The file and line at which an import failed, and the error, in one line."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    last = places[-1]
    return f"{last.filename}, line {last.lineno}: {type(error).__name__}: {' '.join(str(error).split())}"
