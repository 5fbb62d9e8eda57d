import jax

from ddim_jax.runtime.compile_clock import CompileClock


def test_it_counts_what_is_compiled_within_its_block_and_what_is_read():
    with CompileClock() as clock:
        # As JAX tells them: of a program that was read, both.
        for seconds in (2.5, 0.25):
            jax.monitoring.record_event_duration_secs("/jax/core/compile/backend_compile_duration", seconds)
        jax.monitoring.record_event("/jax/compilation_cache/cache_hits")
        jax.monitoring.record_event("/jax/compilation_cache/cache_misses")
    jax.monitoring.record_event_duration_secs("/jax/core/compile/backend_compile_duration", 9.0)
    assert (clock.compiled, clock.read, clock.seconds) == (1, 1, 2.75)
    assert clock.told().endswith(" s, 2.8 s of it for 1 program compiled and 1 read from disk")
