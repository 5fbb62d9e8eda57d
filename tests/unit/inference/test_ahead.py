from ddim_jax.inference.ahead import start_ahead


def test_start_ahead_bounds_what_is_started_and_keeps_the_order():
    log = []
    taken = start_ahead(lambda item: log.append(item) or item, range(5), 2)
    assert next(taken) == 0 and log == [0, 1]
    assert next(taken) == 1 and log == [0, 1, 2]
    assert list(taken) == [2, 3, 4]
