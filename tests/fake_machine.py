"""A machine as the table's workers describe it, without a worker."""

ABOUT = {"device": "a machine", "platform": "cpu", "compiled_cpu_kernels": True, "jax": "1.2.3"}


class FakeMachine:
    """In the place of the worker that looks at the device and the networks."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def call(self, method, *_):
        return {"about": ABOUT, "parameters": 1234}[method]
