"""Programs that do not outlive the one that started them, and a SIGTERM that lets it clean up.

python benchmarks/children.py PARENT PROGRAM [ARGUMENT...]: becomes PROGRAM, which is killed when process PARENT ends.
"""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def die_with_parent() -> None:
    """Has Linux kill this process when the thread that started it ends, however it ends; it lasts through exec."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def dying_with_this(command: Sequence[str]) -> list[str]:
    """A command for `subprocess` that becomes `command`, with the same number, and is killed when this process ends."""
    # Not by a function between fork and exec: this process has the threads of JAX.
    return [sys.executable, "-S", __file__, str(os.getpid()), *command]


def end_on_sigterm() -> None:
    """SIGTERM ends this process by SystemExit from here on, so that what was begun is undone; a second is ignored."""

    def end(number: int, frame: object) -> None:
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which programs started from here would inherit
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


if __name__ == "__main__":
    die_with_parent()
    if os.getppid() == int(sys.argv[1]):  # or it ended before
        os.execvp(sys.argv[2], sys.argv[2:])
