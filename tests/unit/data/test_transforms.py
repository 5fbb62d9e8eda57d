"""Transforms that plug-ins register: their order, their keys, what they have to give."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augmented import PAPER, pair

from ddim_jax.data import Augmentation, augmentation
from ddim_jax.registry import TRANSFORMS
from ddim_jax.runtime.errors import ConfigError


@pytest.fixture
def registered(monkeypatch):
    """Registers transforms for a test."""
    monkeypatch.setattr(TRANSFORMS, "_entries", {})
    return lambda **transforms: TRANSFORMS._entries.update(transforms)


def test_transforms_follow_all_else_in_their_order(registered):
    registered(
        negative=lambda key, image, mask: (-image, 1 - mask),
        half=lambda key, image, mask: (image / 2 + 0.25, mask),
    )
    image, mask = pair(16, 16)
    image, labels, key = jnp.asarray(image), jnp.asarray(mask > 0, jnp.uint8), jax.random.key(3)
    plain, moved = augmentation.augment(key, image, labels, PAPER, outside=0)
    both = dataclasses.replace(PAPER, transforms=("negative", "half"))
    changed, changed_mask = augmentation.augment(key, image, labels, both, outside=0)
    np.testing.assert_allclose(changed, 0.25 - plain / 2, atol=1e-6)
    np.testing.assert_array_equal(changed_mask, 1 - moved)


def test_each_transform_has_a_key_of_its_own_for_each_picture(registered):
    registered(
        drawn=lambda key, image, mask: (image.at[0, 0].set(jax.random.uniform(key, 3)), mask),
        again=lambda key, image, mask: (image.at[1, 1].set(jax.random.uniform(key, 3)), mask),
    )
    how = Augmentation(transforms=("drawn", "again"))
    images, masks = jnp.zeros((4, 2, 2, 3)), jnp.zeros((4, 2, 2, 1), jnp.uint8)
    keys = jax.random.split(jax.random.key(0), 4)
    changed, _ = jax.vmap(lambda *pair: augmentation.augment(*pair, how))(keys, images, masks)
    assert len(np.unique(changed[:, [0, 1], [0, 1]])) == 4 * 2 * 3


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            lambda key, image, mask: (image[:1], mask),
            r"float32 \[1, 2, 3\] and uint8 \[2, 2, 1\]; expected .*float32 \[2, 2, 3\]",
        ),
        (lambda key, image, mask: (image, mask > 0), r"bool \[2, 2, 1\]; expected .* and uint8 \[2, 2, 1\]"),
        (lambda key, image, mask: image, r"float32 \[2, 2, 3\]; expected"),
    ],
)
def test_a_transform_that_gives_no_such_pair_is_refused(registered, transform, message):
    registered(odd=transform)
    with pytest.raises(ConfigError, match=r"data\.transforms: 'odd' gives .*" + message):
        augmentation.augment(
            jax.random.key(0), jnp.zeros((2, 2, 3)), jnp.zeros((2, 2, 1), jnp.uint8), Augmentation(transforms=("odd",))
        )
