"""Run by test_suspended.py as one of two processes: they meet, and wait for as long as they are told.

python suspended_process.py HOST:PORT INDEX FOLDER SECONDS
"""

import sys
import time
from pathlib import Path

from ddim_jax.runtime import heartbeats
from ddim_jax.runtime.distributed import initialise
from ddim_jax.runtime.processes import ending_together, wait_for_all
from ddim_jax.runtime.signals import StopRequest

if __name__ == "__main__":
    address, index, folder, seconds = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    heartbeats.BEAT_SECONDS, heartbeats.ANSWER_SECONDS, heartbeats.SILENT_SECONDS = 1.0, 4.0, 5.0
    initialise(address, 2, index)
    wait_for_all("begin")
    with ending_together(StopRequest()):
        (folder / f"{index}.met").touch()
        for _ in range(10 * seconds):
            time.sleep(0.1)
        print("lived", flush=True)
