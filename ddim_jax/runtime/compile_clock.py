"""The time that compiling takes, and how much of it the programs kept on disk save, as JAX tells them."""

import time

import jax

from ddim_jax.runtime.values import quantity

COMPILED = "/jax/core/compile/backend_compile_duration"
"""JAX's event after it has compiled a program or read it from its cache."""
_READ = "/jax/compilation_cache/cache_hits"


class CompileClock:
    """Counts, from its making to the end of its `with` block, the programs that JAX compiles or reads from disk.

    Attributes:
      compiled, read: programs.
      seconds: of both.
    """

    def __init__(self):
        self.compiled, self.read, self.seconds = 0, 0, 0.0
        self._began = time.perf_counter()
        jax.monitoring.register_event_listener(self._on_event)
        jax.monitoring.register_event_duration_secs_listener(self._on_duration)

    def __enter__(self) -> "CompileClock":
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_listener(self._on_event)
        jax.monitoring.unregister_event_duration_listener(self._on_duration)

    def told(self) -> str:
        """The time since its making, in words."""
        return f"{time.perf_counter() - self._began:.1f} s, {self.share()}"

    def share(self) -> str:
        """The part of the programs in that time, in words."""
        compiled = quantity(self.compiled, "program")
        return f"{self.seconds:.1f} s of it for {compiled} compiled and {self.read} read from disk"

    def _on_event(self, event: str, **_: object) -> None:
        if event == _READ:
            self.read += 1
            self.compiled -= 1  # JAX tells of it as of one that was compiled, too

    def _on_duration(self, event: str, seconds: float, **_: object) -> None:
        if event == COMPILED:
            self.compiled += 1
            self.seconds += seconds
