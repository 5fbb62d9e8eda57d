import itertools

import pytest

from ddim_jax.evaluation import diagrams, figures, pictures


@pytest.fixture(autouse=True)
def sketched(monkeypatch):
    """The figures of what a test evaluates are files that differ; drawing them takes seconds.

    A module's own fixtures come before this one: what they evaluate has real figures.
    """
    number = itertools.count()

    def sketch(path, *_):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"figure {next(number)}")

    for name in ("draw_scores", "draw_calibration", "draw_grid", "draw_strip", "draw_reverse_process"):
        monkeypatch.setattr(figures, name, sketch)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that drawing functions would have written."""
    found = []
    for module in (diagrams, pictures):
        monkeypatch.setattr(module, "save_figure", lambda figure, path: found.append(figure))
    return found
