"""How many pixels of pictures are in memory at once."""

import threading
from collections.abc import Callable


class Room:
    """Lets pictures in, one after the other in turn, while their pixels fit; one that is alone is let in at any size.

    Nobody waits in here: a picture says what is to be done once it is in, and whoever makes room does that. Since a
    picture never overtakes one of an earlier turn, those inside are always the next ones to be consumed: whoever
    consumes them in turn, and empties what is under way where the next one is still outside, never waits in vain.

    Args:
      pixels: that may be inside at once.
    """

    def __init__(self, pixels: int):
        self._most = pixels
        self._inside = self._turn = 0
        self._asked: dict[int, tuple[int, Callable[[], None]]] = {}
        self._lock = threading.Lock()

    def ask(self, turn: int, pixels: int, enter: Callable[[], None]) -> None:
        """Asks for room for `pixels`; every turn from 0 has to, in any order.

        Args:
          turn: the place in the order.
          pixels: how many, >= 0.
          enter: called once they have room, in this thread or in one that calls `ask` or `leave`; it must not wait.
        """
        with self._lock:
            self._asked[turn] = pixels, enter
        self._let_in()

    def leave(self, pixels: int) -> None:
        """Gives back what a picture took."""
        with self._lock:
            self._inside -= pixels
        self._let_in()

    def is_outside(self, turn: int) -> bool:
        """Whether a turn has asked and was not let in yet."""
        with self._lock:
            return turn in self._asked

    def _let_in(self) -> None:
        entering = []
        with self._lock:
            while self._turn in self._asked:
                pixels, enter = self._asked[self._turn]
                if self._inside and self._inside + pixels > self._most:
                    break
                del self._asked[self._turn]
                self._inside += pixels
                self._turn += 1
                entering.append(enter)
        for enter in entering:
            enter()
