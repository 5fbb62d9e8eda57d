"""Programs that do not find each other, and what is said where the runtime ends one of them."""

import re
import socket
import subprocess
import sys

from ddim_jax.runtime.errors import TRY_AGAIN

MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"}


def test_nobody_there(environment):
    """The others of process 0 never come, and process 1 finds no process 0; and a launcher that says too little."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    code = "initialise('127.0.0.1:{port}', 2, {index}, timeout=1)"
    program = "import sys\nfrom ddim_jax.runtime.errors import report_input_errors\n"
    program += "from ddim_jax.runtime.distributed import initialise\nwith report_input_errors():\n    "
    cases = [
        (code.format(port=9, index=1), {}, 2, "error: process 0 cannot be reached at 127.0.0.1:9 .* for 1 s"),
        (
            code.format(port=port, index=0),
            {},
            75,
            f"error: process 0: all 2 processes did not .* within 1 s at .*{port}",
        ),
        ("initialise(timeout=1)", MPI, 2, "error: mpirun started this process, but joining the others failed"),
    ]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program + call], env=environment | extra, stderr=subprocess.PIPE, text=True
        )
        for call, extra, _, _ in cases
    ]
    for process, (_, _, status, message) in zip(running, cases, strict=True):
        said = process.communicate(timeout=120)[1]
        assert process.returncode == status, said
        assert re.match(message, said.splitlines()[-1]), said


def abort(environment, program):
    program = "import os\nfrom ddim_jax.runtime.processes import say_on_abort\n" + program
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_abort_says_a_last_word(environment):
    program = (
        "import threading\nsay_on_abort(lambda: 'the last word')\n"
        "thread = threading.Thread(target=os.abort)\nthread.start()\nthread.join()"
    )
    assert abort(environment, program) == (TRY_AGAIN, "error: the last word\n")


def test_a_last_word_is_taken_back(environment):
    program = "say_on_abort(lambda: 'the first')\nsay_on_abort(lambda: 'the second')()\nos.abort()"
    assert abort(environment, program) == (TRY_AGAIN, "error: the first\n")


def test_one_that_fails_keeps_its_status_where_the_runtime_aborts_first(environment):
    assert abort(environment, "say_on_abort(None, 2)\nos.abort()") == (2, "")
