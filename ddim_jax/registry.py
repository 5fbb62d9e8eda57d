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

DENOISER_CALL = "noisy_mask, image, t, *, train"
"""The arguments of a network that is registered without another process."""


class Registry(Generic[T]):
    """Entries of one kind by name.

    Args:
      kind: what an entry is, in the singular, for messages: "sampler".
      folder: the package whose modules register this package's own entries.
      *calls: the ways to call an entry, of which each has one (`call_of`): names of arguments, those behind a "*" by
        name. None given: not looked at. Of one way alone, a thing that does not say how it is called, as some in C, is
        taken.
      check: returns what is wrong with an entry, "" for nothing; None: not looked at.
    """

    def __init__(self, kind: str, folder: str, *calls: str, check: Callable[[object], str] | None = None):
        self.kind = kind
        self._folder = folder
        self._calls, self._check = calls, check
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}
        self._imports: dict[str, list[str]] = {}
        self._complete, self._finding = False, False
        self._lock = threading.RLock()

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that registers what it decorates under `name` and returns it as it is.

        Raises:
          ConfigError: something else has that name, both are named by where they come from; or the name is none, or
            the thing cannot be called as those of this kind are, or lacks what they have.
        """
        caller = inspect.currentframe().f_back
        place = f"{caller.f_code.co_filename}, line {caller.f_lineno}"
        frames = [frame for frame, _ in traceback.walk_stack(caller) if frame.f_code.co_name == "<module>"]
        imports = [frame.f_globals.get("__name__", "") for frame in frames]
        if not isinstance(name, str) or not name:
            raise ConfigError(
                f"{place}: the name of a {self.kind} is {name!r}; expected a text. Did you forget it? It stands in "
                'brackets of its own, as in @register.sampler("euler")'
            )

        def add(entry: T) -> T:
            self._check_call(name, entry, place)
            if self._check is not None and (wrong := self._check(entry)):
                raise ConfigError(f"{place}: the {self.kind} {name!r} {wrong}")
            origin, there = _origin(entry, place), self._entries.setdefault(name, entry)
            # A module that is imported again defines the same thing anew.
            if there is not entry and origin != self._origins.get(name):
                raise ConfigError(
                    f"{origin} registers a {self.kind} {name!r}, and so did {self._origins.get(name)}; expected "
                    "another name"
                )
            self._entries[name], self._origins[name], self._imports[name] = entry, origin, imports
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
        parts = {call: _arguments(call) for call in self._calls}
        declared = {name for _, by_name in parts.values() for name in by_name if name in signature.parameters}
        for call, (by_place, by_name) in parts.items():
            if len(self._calls) > 1 and by_name.keys() != declared:
                continue
            try:
                signature.bind(*by_place, **by_name)
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
            if isinstance(error, ValueError) and len(self._calls) == 1:
                return
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

    def imports(self, name: str) -> list[str]:
        """The module whose import registered an entry, the one that imported it, and so on; [] where there is none."""
        self._find()
        return self._imports.get(name, [])

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


def _arguments(call: str) -> tuple[list[str], dict[str, None]]:
    by_place, _, by_name = (part.replace(",", " ").split() for part in call.partition("*"))
    return by_place, dict.fromkeys(by_name)


def not_called_as(call: str, entry: object) -> str:
    """Returns why a thing cannot be called with arguments of these names, by place or behind a "*" by name, or ""."""
    by_place, by_name = _arguments(call)
    try:
        inspect.signature(entry).bind(*by_place, **by_name)
    except TypeError as error:
        return f"cannot be called as ({call}): {error}"
    except ValueError:  # some functions of other languages do not say how they are called
        pass
    return ""


def _no_model(entry: object) -> str:
    module = entry if isinstance(entry, type) else getattr(entry, "module", None)
    if not (isinstance(module, type) and hasattr(module, "init") and hasattr(module, "apply")):
        return f"is {entry!r}; expected a class of Flax modules, or a ddim_jax.models.ModelSpec with one"
    if not hasattr(module, "size_multiple"):
        return f"is made of {module.__name__}, which has no size_multiple; give it one, 1 for images of any size"
    wrong = not_called_as(f"self, {getattr(entry, 'call', DENOISER_CALL)}", module.__call__)
    return wrong and f"is made of {module.__name__}, which {wrong}"


def _no_reader(entry: object) -> str:
    suffixes = getattr(entry, "suffixes", None)
    if not isinstance(suffixes, tuple) or not all(isinstance(one, str) and one[:1] == "." for one in suffixes):
        return f'has the suffixes {suffixes!r}; expected a tuple of texts with their dots, such as (".tif", ".tiff")'
    methods = {"read_image": "path, options", "read_mask": "path, labels", "count_pixels": "path"}
    return next(filter(None, (_no_method(entry, name, call) for name, call in methods.items())), "")


def _no_writer(entry: object) -> str:
    if not isinstance(entry, type):
        return f"is {entry!r}; expected a class, which is made without arguments for each file"
    suffix = getattr(entry, "suffix", None)
    if not isinstance(suffix, str) or suffix[:1] != ".":
        return f'has the suffix {suffix!r}; expected a text with its dot, such as ".json"'
    name, call = "write", "path, result, image, source, context"
    if hasattr(entry, "write_stack"):
        name, call = "write_stack", "path, masks, probability, stack, context"
    own = isinstance(inspect.getattr_static(entry, name, None), staticmethod | classmethod)
    return _no_method(entry, name, call if own else f"self, {call}")


def _no_method(entry: object, name: str, call: str) -> str:
    if not hasattr(entry, name):
        return f"has no {name}; expected {name}({call})"
    wrong = not_called_as(call, getattr(entry, name))
    return wrong and f"has a {name} that {wrong}"


MODELS = Registry("model", "ddim_jax.models", check=_no_model)
SAMPLERS = Registry(
    "sampler", "ddim_jax.diffusion.samplers", "denoise, noise, schedule, options, *, prediction, key, return_trajectory"
)
LOSSES = Registry("loss", "ddim_jax.diffusion.mask_losses", "logits, x0, labels")
DATASETS = Registry("data set", "ddim_jax.data.datasets", "split, options")
TRANSFORMS = Registry("transform", "ddim_jax.data.transforms", "key, image, mask")
READERS = Registry("reader", "ddim_jax.imageio.readers", check=_no_reader)
WRITERS = Registry("writer", "ddim_jax.imageio.writers", check=_no_writer)
METRICS = Registry(
    "metric", "ddim_jax.metrics", "counts", "prediction, truth", "counts, *, pixel_mm", "prediction, truth, *, pixel_mm"
)
HYPOTHESIS_METRICS = Registry("metric of hypotheses", "ddim_jax.metrics", "hypotheses, annotators")
ENSEMBLES = Registry("ensemble", "ddim_jax.aggregation.ensembles", "samples, protocol")


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
    """Imports the modules that `--plugins`, or a config in its field `plugins`, names, so that they register what they
    have.

    Raises:
      ConfigError: one of them cannot be found, or fails while it is imported: the place in it is named.
    """
    for name in modules:
        if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
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
            raise ConfigError(f"plugins names {name!r}, which fails at {place_of(error)}") from error


def place_of(error: Exception) -> str:
    """Returns the file and line at which an error was raised, and the error, in one line."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    last = places[-1]
    return f"{last.filename}, line {last.lineno}: {type(error).__name__}: {' '.join(str(error).split())}"
