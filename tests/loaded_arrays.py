"""A whole source, read into arrays."""

from ddim_jax.data import Selection, load_selections


def load_arrays(source, image_size):
    """Every pair of `source`; see `load_selections`."""
    return load_selections([Selection(source, range(len(source)))], image_size)[0]
