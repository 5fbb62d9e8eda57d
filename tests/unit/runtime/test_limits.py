"""A low limit on open files is raised where the system lets it be, and refused where not."""

import resource

import pytest

from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.limits import allow_open_files


@pytest.mark.parametrize(
    ("limits", "raised"),
    [((32, 4096), (256, 4096)), ((255, -1), (256, -1)), ((256, 256), None), ((-1, -1), None), ((1024, 4096), None)],
)
def test_a_low_limit_is_raised(limits, raised, monkeypatch):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: asked.append(pair))
    allow_open_files()
    assert asked == ([raised] if raised else [])


def test_a_limit_that_stays_low_is_refused(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (32, 32))
    with pytest.raises(InputError, match=r"may open 32 files at once, expected at least 256.*ulimit -n 256"):
        allow_open_files()
