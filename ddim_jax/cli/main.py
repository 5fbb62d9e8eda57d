"""The command `ddim-jax`, also as `python -m ddim_jax`: train, pretrain, evaluate and others (`COMMANDS`).

Nothing that takes long to import is imported at the head of this file: a signal may come meanwhile, and each command
listens before it imports what it needs.
"""

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

import ddim_jax
from ddim_jax.runtime.printable import printable
from ddim_jax.runtime.signals import StopRequest, left_on_ctrl_c, stop_on_signals
from ddim_jax.runtime.streams import enduring, lost_output, when_unread


@contextlib.contextmanager
def _starting(told: str) -> Iterator[None]:
    """For the imports and arguments of a command, which Ctrl-C ends with the line `told`."""
    with left_on_ctrl_c(told), _kept_for_ever():
        yield


@contextlib.contextmanager
def _kept_for_ever() -> Iterator[None]:
    """For imports, JAX's the first of them: they are never looked through for garbage.

    They live as long as the process, and Python would go over all of them again and again: for a tenth of the time of a
    start, when a training step is traced, and for another tenth of a start when the process ends.
    """
    gc.disable()
    try:
        _import_jax()
        yield
    finally:
        gc.freeze()
        gc.enable()


TRAIN = """Trains a model and writes checkpoints into the folder of the run; the same command goes on with it.

  %(prog)s --config folder --config.data.root=DIR --workdir runs/mine

Exit status: 0 if it came to its last step, 2 if an argument, a field or an image cannot be used, 130 if it was stopped
with Ctrl-C, 75 if with another signal, or if another process was lost or is at work in the folder (try again later).
"""


@enduring()
def train() -> NoReturn:
    """Trains a model: --config NAME|FILE [--workdir DIR] [--config.FIELD=VALUE ...]"""
    request = StopRequest()
    request.leave_at_once(lambda _: print("stopped before training began", file=sys.stderr, flush=True))
    when_unread(lambda: request.ask("SIGPIPE"))
    with stop_on_signals(request):
        with _kept_for_ever():
            from ddim_jax.cli.train import run
        run(request, TRAIN)


PRETRAIN = """Pre-trains the U-Net of a network on images without masks; a training begins from it with train.init_from.

  %(prog)s --config folder --config.data.root=DIR --config.data.unlabelled=IMAGES --output FILE.safetensors
"""


@enduring()
def pretrain() -> NoReturn:
    """Pre-trains a network on images without masks: --config NAME|FILE --output FILE [--config.FIELD=VALUE ...]"""
    with _starting("stopped before pre-training began"):
        from ddim_jax.cli.pretrain import run
    run(PRETRAIN)


EVALUATE = """Scores a checkpoint on a split of its data set: tables, numbers per image and figures.

  %(prog)s --ckpt RUN --split test
"""


@enduring()
def evaluate() -> int:
    """Scores a checkpoint on a split of its data set: --ckpt RUN [--split test] ..."""
    with _starting("stopped before an image was evaluated"):
        from ddim_jax.cli.evaluate import parse_arguments, run

        arguments = parse_arguments(EVALUATE)
    run(arguments)
    return 0


SAMPLE = """Segments image files with a trained checkpoint.

  %(prog)s --ckpt runs/demo --input photos/ --output results/ --save mask,overlay

Several processes share the images: start it under srun or mpirun, or with --process-id I --process-count N. Exit
status: 0 if every image was segmented, 1 if some could not be read (each is named at the end), 2 if an argument cannot
be used, 75 if another process is at work on the same results (try again later), 130 if it was stopped with Ctrl-C, 143
with SIGTERM. A run that was stopped goes on when it is started again.
"""


@enduring()
def sample() -> int:
    """Segments image files: --ckpt RUN --input PATH ... --output DIR ..."""
    with _starting("stopped before an image was segmented"):
        from ddim_jax.cli.sample import parse_arguments, run

        arguments = parse_arguments(SAMPLE)
    return run(arguments)


SERVE = """Serves a web page that segments images dropped on it, and a REST API for programs.

  %(prog)s --ckpt lung_xray

It listens on this machine alone unless --host is given, and fetches nothing from elsewhere. Two checkpoints are
shown side by side. Options of sampling hold for all requests; a request may choose steps, samples, seed,
protocol, ensemble, threshold, window and invert.
"""


@enduring()
def serve() -> int:
    """Serves a web page and POST /segment, until it is stopped: --ckpt RUN [RUN] [--port N] ..."""
    with _starting("stopped before it listened"):
        from ddim_jax.cli.serve import parse_arguments, run

        arguments = parse_arguments(SERVE)
    return run(arguments)


PACK = """Packs what segmenting needs of a run into one file, to share or to keep.

  %(prog)s runs/mine --output mine.safetensors --note "what it was trained on" --terms "how it may be used"

The file holds the averaged weights, the config without paths, and SHA-256 sums; sample, evaluate and doctor take it as
--ckpt, Segmenter.from_pretrained in Python.
"""


@enduring()
def pack() -> int:
    """Packs the weights of a run into one file: RUN --output FILE.safetensors [--dtype float16] ..."""
    with _starting("stopped before anything was packed"):
        from ddim_jax.cli.pack import parse_arguments, run

        arguments = parse_arguments(PACK)
    return run(arguments) or (1 if lost_output() else 0)


EXPORT = """Exports a checkpoint as a program that segments without this package, checked against JAX.

  %(prog)s --ckpt RUN --format onnx --output model.onnx

It takes normalised images and noise and gives probability, uncertainty and mask; config and calibration are in its
metadata. The page "Take a network elsewhere" of the documentation has a program that runs it.
"""


@enduring()
def export() -> int:
    """Exports a program that runs elsewhere: --ckpt RUN --format onnx|stablehlo|openvino --output FILE ..."""
    with _starting("stopped before anything was exported"):
        from ddim_jax.cli.export import parse_arguments, run

        arguments = parse_arguments(EXPORT)
    return run(arguments) or (1 if lost_output() else 0)


FIELDS = """Lists the fields of a config with their values, defaults and meanings.

  %(prog)s                    all of them, as a page in Markdown
  %(prog)s augment            those with "augment" in their names or meanings
"""


@enduring()
def fields() -> int:
    """Lists the fields of a config with their values, defaults and meanings: [PART_OF_A_NAME ...]"""
    with _starting("stopped"):
        from ddim_jax.cli.fields import parse_arguments, run

        arguments = parse_arguments(FIELDS)
    return run(arguments) or (1 if lost_output() else 0)


@enduring()
def doctor() -> int:
    """Checks the installation, with advice; or describes a run or a data set: [--ckpt RUN | --data DIR ...]"""
    with _starting("stopped"):
        from ddim_jax.cli.doctor import run
    return run() or (1 if lost_output() else 0)  # what it prints is all that it does


COMMANDS: dict[str, Callable[[], int]] = {
    command.__name__: command for command in (train, pretrain, evaluate, sample, serve, pack, export, fields, doctor)
}


def _import_jax() -> None:
    """Ends the program with one line where JAX cannot read a variable of the environment."""
    try:
        import jax  # noqa: F401
    except ImportError:
        pass  # whoever needs it says so
    except ValueError as error:
        print(f"error: {printable(str(error))}; change or unset that environment variable", file=sys.stderr)
        sys.exit(2)


@enduring()
def main() -> int:
    """Runs the command that the first argument names, with the arguments behind it; returns the exit status."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        sys.argv[:] = [f"ddim-jax {name}", *sys.argv[2:]]
        return COMMANDS[name]()
    if name == "--version":
        print(f"ddim-jax {ddim_jax.__version__}")
        return 0
    usage = [f"ddim-jax {ddim_jax.__version__}: ddim-jax COMMAND ...; ddim-jax COMMAND --help has the options", ""]
    usage += [f"  {name:9} {command.__doc__}" for name, command in COMMANDS.items()]
    if name in ("-h", "--help"):
        print("\n".join(usage))
        return 0
    wrong = f"error: {name!r} is not a command; expected one of {', '.join(COMMANDS)}" if name else "\n".join(usage)
    print(wrong, file=sys.stderr)
    return 2


if __name__ == "__main__":  # a traceback names this file, and it is then called by its name
    sys.exit(main())
