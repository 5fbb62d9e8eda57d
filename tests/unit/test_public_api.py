"""The names of the package itself."""

import ddim_jax


def test_the_public_names_are_listed_and_found():
    assert set(ddim_jax.__all__) <= set(dir(ddim_jax))
    assert "importlib" in dir(ddim_jax)  # what the module has besides, as of any other
    assert all(getattr(ddim_jax, name) is not None for name in ddim_jax.__all__)
