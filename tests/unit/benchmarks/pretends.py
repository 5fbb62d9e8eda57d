"""A program that is none."""


class Pretends:
    """In place of a program: does something to the folder, and has said something."""

    def __init__(self, does, status, said):
        self._does, self._status, self.said = does, status, said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait(self):
        self._does()
        return self._status
