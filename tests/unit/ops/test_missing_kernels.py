"""Tests of the compiled kernels are not left out in silence."""

from pathlib import Path

import pytest

from ddim_jax.ops import cpu_kernels


@pytest.fixture
def conftest(request, monkeypatch):
    """tests/conftest.py in a session without kernels."""
    monkeypatch.setattr(cpu_kernels, "available", lambda: False)
    return request.config.pluginmanager.get_plugin(str(Path(__file__).parents[2] / "conftest.py"))


@pytest.mark.parametrize(
    ("required", "compiler", "refused"), [("1", ["c++"], True), ("1", None, False), ("", ["c++"], False)]
)
def test_kernels_that_could_be_built_have_to_be_where_they_are_required(
    conftest, required, compiler, refused, monkeypatch
):
    monkeypatch.setenv("DDIM_JAX_REQUIRE_KERNELS", required)
    monkeypatch.setattr(cpu_kernels, "compiler", lambda: compiler)
    if refused:
        with pytest.raises(pytest.UsageError, match="are not built, and their tests would be skipped: make kernels"):
            conftest.check_kernels()
    else:
        conftest.check_kernels()


@pytest.mark.parametrize(
    ("compiler", "advice"), [(["c++"], "python -m ddim_jax.ops.cpu_kernels builds"), (None, "there is no C++ compiler")]
)
def test_the_last_lines_of_a_session_say_what_is_missing(conftest, compiler, advice, monkeypatch):
    class Reporter(list):
        write_line = list.append

    monkeypatch.setattr(cpu_kernels, "compiler", lambda: compiler)
    said = Reporter()
    conftest.pytest_terminal_summary(said)
    assert len(said) == 1 and said[0].startswith("Tests of the compiled kernels were skipped") and advice in said[0]
