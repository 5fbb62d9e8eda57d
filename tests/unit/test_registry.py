"""Registries: what registers, and the first look-up."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from flax import linen as nn

from ddim_jax.aggregation import of_masks
from ddim_jax.diffusion import DirectProcess
from ddim_jax.models import ModelSpec
from ddim_jax.registry import (
    DATASETS,
    ENSEMBLES,
    HYPOTHESIS_METRICS,
    METRICS,
    MODELS,
    READERS,
    WRITERS,
    Registry,
    import_plugins,
    register,
)
from ddim_jax.runtime.errors import ConfigError


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """A registry whose two entries take a while to import."""
    folder = tmp_path / "shapes_of_a_test"
    folder.mkdir()
    registry = Registry("shape", folder.name)
    (folder / "__init__.py").write_text("registry = None")
    for name in ("circle", "square"):
        text = f"import time; time.sleep(0.1)\nfrom {folder.name} import registry\nregistry.register('{name}')(len)"
        (folder / f"{name}.py").write_text(text)
    (folder / "_shared.py").write_text("raise RuntimeError('a module of its own is not imported')")
    monkeypatch.syspath_prepend(tmp_path)
    package = __import__(folder.name)
    package.registry = registry
    yield registry
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def test_threads_that_look_up_first_at_once_all_see_every_entry(shapes):
    with ThreadPoolExecutor(8) as pool:
        assert [list(names) for names in pool.map(lambda _: list(shapes), range(8))] == [["circle", "square"]] * 8


def test_an_unknown_name_is_told_with_those_there_are(shapes):
    assert shapes.get("circle") is len and "square" in shapes and "cube" not in shapes
    with pytest.raises(ConfigError, match=r"data\.shape is 'cube'; expected one of circle, square"):
        shapes.get("cube", "data.shape")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ddim_jax.nothere.mod", "cannot be imported"),
        ("nothere_at_all", "cannot be imported"),
        (".foo", "expected the name of a module"),
        ("plug/mine.py", r"expected the name of a module.*: mine, with its folder in PYTHONPATH .PYTHONPATH=plug."),
        ("mine.py", r"expected the name of a module.*: mine, with its folder in PYTHONPATH .PYTHONPATH=\.\)"),
        ("", "expected the name of a module"),
    ],
)
def test_a_plugin_that_cannot_be_meant_is_named(name, message):
    with pytest.raises(ConfigError, match=f"plugins names {name!r}.*{message}"):
        import_plugins((name,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothere_at_all", "line 1: ModuleNotFoundError: No module named 'nothere_at_all'"),
        ("x = 1\ndef f(:", "line 2: invalid syntax"),
        ("\n1 / 0", "line 2: ZeroDivisionError: division by zero"),
        (
            "from ddim_jax import register\n@register.colour('a')\ndef a(): ...",
            "line [0-9]+: AttributeError: there is no register.colour; expected one of dataset, ensemble, ",
        ),
    ],
)
def test_a_plugin_that_fails_is_named_with_the_place_in_it(text, message, tmp_path, monkeypatch):
    (tmp_path / "failing_plugin.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=rf"^plugins names 'failing_plugin', which fails at .*\.py, {message}"):
        import_plugins(("failing_plugin",))


def test_what_cannot_be_called_as_its_kind_is_refused_where_it_registers():
    registry = Registry("shape", "shapes", "size, colour, *, key")

    def right(size, colour, extra=1, **options): ...

    assert registry.register("right")(right) is right
    with pytest.raises(ConfigError, match=r"registry\.py, line \d+: the shape 'wrong' cannot be called as \(size, "):
        registry.register("wrong")(lambda size, colour: None)


@pytest.mark.parametrize("kind", sorted(vars(register)))
def test_a_decorator_without_its_name_is_refused(kind):
    def anything(*arguments): ...

    with pytest.raises(ConfigError, match=r"test_registry\.py, line \d+: the name of a .* is <func.*forget it"):
        getattr(register, kind)(anything)


def class_of(**attributes):
    return type("Made", (), attributes)


def takes(*names):
    """A function of arguments of these names."""
    return eval(f"lambda {', '.join(names)}: None")


def network(call):
    return class_of(size_multiple=1, init=None, apply=None, __call__=call)


WRITE = takes("self", "path", "result", "image", "source", "context")
READ = {"suffixes": (".x",), "count_pixels": staticmethod(takes("path"))} | {
    name: staticmethod(takes("path", "more")) for name in ("read_image", "read_mask")
}


@pytest.mark.parametrize(
    ("kind", "thing", "message"),
    [
        ("model", 5, "is 5; expected a class of Flax modules, or a ddim_jax.models.ModelSpec"),
        ("model", class_of(size_multiple=1), "is <class .*; expected a class of Flax modules"),
        ("model", nn.Dense, "is made of Dense, which has no size_multiple; give it one"),
        ("model", ModelSpec(nn.Dense), "is made of Dense, which has no size_multiple; give it one"),
        (
            "model",
            network(takes("self", "image", "*", "train")),
            r"is made of Made, which cannot be called as \(s",
        ),
        (
            "model",
            network(takes("self", "noisy_mask", "image", "t")),
            r"is made of Made, which .*\(self, noisy_mask, image, t, \*, train\): got an unexpected .* 'train'",
        ),
        (
            "model",
            ModelSpec(network(takes("self", "noisy_mask", "image", "t", "*", "train")), process=DirectProcess),
            r"is made of Made, which cannot be called as \(self, image, \*, train\): missing",
        ),
        ("dataset", takes("split"), r"cannot be called as \(split, options\): too many positional"),
        ("reader", class_of(**READ | {"suffixes": ".npy"}), "has the suffixes '.npy'; expected a tuple"),
        ("reader", class_of(**READ | {"suffixes": ("npy",)}), r"has the suffixes \('npy',\); expected a tuple"),
        ("reader", class_of(suffixes=(".x",)), r"has no read_image; expected read_image\(path, options\)"),
        (
            "reader",
            class_of(**READ | {"read_mask": takes("self", "path", "labels")}),
            r"has a read_mask that cannot be called as \(path, labels\): missing a required argument: 'labels'",
        ),
        ("writer", class_of(write=WRITE), "has the suffix None; expected a text with its dot"),
        ("writer", class_of(write=WRITE, suffix="json"), "has the suffix 'json'; expected a text with its dot"),
        (
            "writer",
            class_of(suffix=".json"),
            r"has no write; expected write\(self, path, result, image, source, context\)",
        ),
        (
            "writer",
            class_of(suffix=".json", write=takes("self", "path", "result")),
            "has a write that cannot be called as",
        ),
        (
            "writer",
            class_of(suffix=".json", write_stack=takes("self", "path")),
            "has a write_stack that cannot be called",
        ),
        (
            "writer",
            class_of(suffix=".json", write=WRITE)(),
            "is <.*; expected a class, which is made without arguments",
        ),
        ("ensemble", takes("samples"), r"cannot be called as \(samples, protocol\)"),
    ],
)
def test_what_cannot_be_of_its_kind_is_refused_where_it_registers(kind, thing, message):
    """It would otherwise be found by a traceback, at the first image or behind a training."""
    with pytest.raises(ConfigError, match=rf"test_registry\.py, line \d+: the .* 'wrong' {message}"):
        getattr(register, kind)("wrong")(thing)


@pytest.mark.parametrize(
    ("registry", "thing"),
    [
        (READERS, class_of(**READ)),
        (WRITERS, class_of(suffix=".json", write=WRITE)),
        (WRITERS, class_of(suffix=".json", write=staticmethod(takes("path", "result", "image", "source", "context")))),
        (WRITERS, class_of(suffix=".dcm", write_stack=WRITE)),
        (ENSEMBLES, of_masks(takes("masks"))),
        (ENSEMBLES, max),  # a function in C, which does not say how it is called
        (DATASETS, takes("split", "options", "more=1")),
        (MODELS, network(takes("self", "noisy_mask", "image", "t", "train=False"))),
        (MODELS, ModelSpec(network(takes("self", "image", "*", "train=False")), process=DirectProcess)),
    ],
)
def test_what_is_of_its_kind_is_taken(registry, thing, monkeypatch):
    monkeypatch.setattr(registry, "_entries", dict(registry.items()))
    assert registry.register("right")(thing) is thing is registry.get("right")


def test_an_ensemble_of_masks_is_a_function_of_masks_alone():
    with pytest.raises(
        ConfigError, match=r"an ensemble of masks, cannot be called as \(masks\): missing a req.*protocol"
    ):
        of_masks(takes("masks", "protocol"))


def test_a_metric_is_called_as_its_parameters_without_a_default_say():
    right = {
        "counts": [lambda counts: 0, lambda counts, beta=2.0: 0, lambda counts, *, beta=2.0: 0, sum],
        "prediction, truth": [lambda p, t: 0, lambda p, t, tolerance=1: 0, lambda p, t, **more: 0],
        "counts, *, pixel_mm": [lambda counts, pixel_mm: 0, lambda counts, beta=2.0, *, pixel_mm=None: 0],
        "prediction, truth, *, pixel_mm": [lambda p, t, pixel_mm: 0, lambda p, t, k=1, pixel_mm=None: 0],
    }
    for call, metrics in right.items():
        assert [METRICS.call_of(metric) for metric in metrics] == [call] * len(metrics)
    wrong = [lambda: 0, lambda p, t, beta: 0, lambda pixel_mm: 0, lambda p, t, *, beta: 0, 3, max]
    for metric in wrong:
        calls = ("counts", "prediction, truth", r"counts, \*, pixel_mm", r"prediction, truth, \*, pixel_mm")
        said = "'odd' cannot be called as " + " or ".join(rf"\({call}\)" for call in calls) + ": "
        with pytest.raises(ConfigError, match=said):
            METRICS.register("odd")(metric)
    assert "odd" not in METRICS
    with pytest.raises(
        ConfigError, match=r"the metric of hypotheses 'odd' cannot be called as \(hypotheses, annotators"
    ):
        HYPOTHESIS_METRICS.register("odd")(lambda hypotheses: 0)


def test_what_is_registered_again_from_another_place_is_refused_with_both(tmp_path):
    registry = Registry("shape", "shapes")

    def made(text, module):
        exec(compile(text, f"{module}.py", "exec"), {"registry": registry, "__name__": module})

    function = "@registry.register('circle')\ndef circle(): ..."
    made(function, "a")
    made(function, "a")  # a module that is imported again
    with pytest.raises(ConfigError, match=r"^b\.circle registers a shape 'circle', and so did a\.circle; expected ano"):
        made(function, "b")
    # Things without a name of their own, and those of a function, are told apart by the line that registers them.
    for name, thing in (
        ("dot", "object()"),
        ("line", "lambda: 0"),
        ("arc", "(lambda: [lambda: 0])()[0]"),
        ("bow", "[].append"),
    ):
        made(f"registry.register('{name}')({thing})", "a")
        made(f"registry.register('{name}')({thing})", "a")
        with pytest.raises(ConfigError, match=rf"^b\.py, line 2 registers a shape '{name}', and so did a\.py, line 1;"):
            made(f"\nregistry.register('{name}')({thing})", "b")
    registry.register("length")(len)
    assert registry.register("length")(len) is len  # the same thing, from wherever
