"""Images that raise the loss, to train on: FGSM from a random start (Wong et al. 2020, arXiv 2001.03994)."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

_STEP = 1.25  # of epsilon, as the paper has it


class Adversary(NamedTuple):
    """The part of attacked images in a training.

    Attributes:
      epsilon: the largest change of a value; 1 is from black to white, two units here.
      share: of the images that are attacked, drawn one by one, in (0, 1].
    """

    epsilon: float
    share: float = 1.0

    @classmethod
    def from_config(cls, train: Mapping[str, Any]) -> "Adversary | None":
        """The adversary of the section `train` of a resolved config; None where nothing is attacked."""
        epsilon, share = train["adversarial_epsilon"], train["adversarial_share"]
        return cls(epsilon, share) if epsilon and share else None

    def draw(self, key: jax.Array, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draws where the step of an image begins, in [-1, 1] times epsilon, its shape; and if it is attacked, []."""
        start = jax.random.uniform(key, image.shape, minval=-1.0, maxval=1.0)
        if self.share == 1:
            return start, jnp.bool_(True)
        return start, jax.random.uniform(jax.random.fold_in(key, 1)) < self.share

    def attack(
        self, loss: Callable[[jax.Array], jax.Array], image: jax.Array, start: jax.Array, attacked: jax.Array
    ) -> jax.Array:
        """Images within epsilon of `image` whose loss is larger: one step of 1.25 epsilon along its gradient's signs.

        Args:
          loss: of images, a scalar.
          image: float32 [batch, H, W, 3] in [-1, 1]; values that lie beyond, as augmentation makes them, are clipped.
          start, attacked: [batch, H, W, 3] and [batch], as `draw` gives them.

        Returns:
          float32 [batch, H, W, 3], what is attacked in [-1, 1] and the rest as it was; no gradient goes through it.
        """
        bound, clean = 2.0 * self.epsilon, jnp.clip(image, -1.0, 1.0)
        seen = jnp.clip(clean + bound * start, -1.0, 1.0)
        seen += _STEP * bound * jnp.sign(jax.grad(loss)(seen))
        seen = jnp.clip(jnp.clip(seen, clean - bound, clean + bound), -1.0, 1.0)
        return jax.lax.stop_gradient(jnp.where(attacked[:, None, None, None], seen, image))
