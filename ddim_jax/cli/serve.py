"""`ddim-jax serve`: its arguments, and the server that it runs."""

import argparse
import contextlib
import ipaddress
import os
import re
import signal
import socket
from pathlib import Path

from absl import logging

from ddim_jax.cli.arguments import (
    add_checkpoint_arguments,
    add_sampling_arguments,
    add_segments,
    number,
    options_given,
)
from ddim_jax.cli.begin import begin, find_device
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.inference.writing import writing_context
from ddim_jax.runtime.errors import InputError, install_command, report_input_errors
from ddim_jax.runtime.printable import Parser
from ddim_jax.runtime.values import quantity
from ddim_jax.sampling_options import SamplingOptions, whole

TOKEN = "DDIM_JAX_TOKEN"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SECONDS_TO_END = 10
_CONNECTIONS = 512
_BACKLOG = 2048  # connections that wait to be accepted, as uvicorn has them
_SHORT_TOKEN = 16


def parse_arguments(about: str | None, arguments: list[str] | None = None) -> argparse.Namespace:
    """The arguments of the command line; `about` is what `--help` says of the program."""
    parser = Parser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add_checkpoint_arguments(parser, several="two are shown side by side")
    add(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on (default: 127.0.0.1, this machine alone)",
    )
    add("--port", type=number("port", int, whole(0, 65535)), default=8000, metavar="N",
        help="port to listen on; 0: any free port (default: 8000)")  # fmt: skip
    add("--root-path", default="", metavar="/PATH", help="path under which a reverse proxy serves the page")
    add("--allow-host", action="append", type=_host, default=[], metavar="NAME",
        help="host name that requests may have besides those of loopback, such as the one a proxy uses")  # fmt: skip
    add("--token", metavar="TEXT",
        help=f"token that requests must carry; the variable {TOKEN} hides it from other users")  # fmt: skip
    for name, default, text in (
        ("upload-mib", 256, "largest size of an upload, in MiB"),
        (
            "kept-mib",
            1024,
            "largest size of all uploads and results kept, in MiB; the oldest results are removed first",
        ),
        ("kept-minutes", 30, "minutes after which a result is removed"),
        ("most-steps", 50, "largest number of sampling steps of a request"),
        ("most-samples", 16, "largest number of samples of a request"),
        ("most-evaluations", 2**17, "largest product of steps, samples and slices of an upload"),
    ):
        parse = number(name.replace("-", "_"), int, whole(1, 2**20))
        add(f"--{name}", type=parse, default=default, metavar="N", help=f"{text} (default: {default})")
    add_segments(parser)
    add_sampling_arguments(parser)
    options = parser.parse_args(arguments)
    if len(options.ckpt) > 2:
        parser.error(f"--ckpt names {len(options.ckpt)} checkpoints; expected one, or two to compare")
    if options.require_sha256 and len(options.ckpt) > 1:
        parser.error("--require-sha256 is of one checkpoint; expected one --ckpt")
    if options.root_path and not re.fullmatch(r"(/[\w.~-]+)+", options.root_path):
        parser.error(
            f"--root-path is {options.root_path!r}; expected a path such as /segment, without a slash at its end"
        )
    place = "--token" if options.token is not None else TOKEN
    given = options.token if options.token is not None else os.environ.get(TOKEN) or None
    options.token = None if given is None else given.strip()  # a Secret that is made from a file ends with its line
    if given is not None and not re.fullmatch(r"[\x21-\x7e]+", options.token):
        parser.error(
            f"{place} is empty, or has spaces or letters beyond ASCII, which no header can have; expected others"
        )
    if options.host not in LOOPBACK and options.token is None and not options.allow_host:
        parser.error(
            f"--host {options.host} lets other machines in; expected --token TEXT (or the variable {TOKEN}) or "
            "--allow-host NAME beside it"
        )
    return options


def _host(text: str) -> str:
    """The name of a server, or its address, in lower case.

    Raises:
      ArgumentTypeError: it is none, such as an address of a page, or has a port: no request would be for it.
    """
    name = text.strip().lower().removesuffix(".")
    if re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", name):
        return name
    with contextlib.suppress(ValueError):
        ipaddress.IPv6Address(address := name.removeprefix("[").removesuffix("]"))
        return address
    raise argparse.ArgumentTypeError(
        f"is {text!r}; expected the name of a server or its address, such as lungs.example.org, without http://, port "
        "or path, in ASCII letters (xn--... of others)"
    )


def run(options: argparse.Namespace) -> int:
    """Serves until it is stopped; returns the exit status."""
    with report_input_errors("stopped"), _listen(options.host, options.port) as listening:
        try:
            import uvicorn

            from ddim_jax.serve.app import create_app
            from ddim_jax.serve.limits import Limits
            from ddim_jax.serve.network import ServedNetwork
        except ImportError as error:
            raise InputError(f"{error.name} is not installed; {install_command('serve')}") from error
        cache = begin()
        logging.set_verbosity(logging.INFO)
        find_device()
        networks = []
        for ckpt in options.ckpt:
            segmenter = Segmenter.load(
                ckpt,
                step=options.checkpoint_step,
                programs=cache and cache / "traced",
                require_sha256=options.require_sha256,
            )
            chosen = segmenter.options(**options_given(options, SamplingOptions))
            networks.append(ServedNetwork.create(Path(ckpt).name or ckpt, segmenter, options.segments, chosen))
        if len(networks) > 1:
            _check_segments(networks)
        limits = Limits(
            upload_bytes=options.upload_mib * 2**20,
            kept_bytes=options.kept_mib * 2**20,
            kept_seconds=options.kept_minutes * 60.0,
            steps=options.most_steps,
            samples=options.most_samples,
            evaluations=options.most_evaluations,
        )
        is_loopback = options.host in LOOPBACK
        if not is_loopback and options.token is None:
            logging.warning("whoever reaches port %d of this machine can use it; --token asks for one", options.port)
        elif options.token is not None and len(options.token) < _SHORT_TOKEN:
            letters = quantity(len(options.token), "letter")
            logging.warning("the token has %s; %d cannot be guessed", letters, _SHORT_TOKEN)
        hosts = (*(LOOPBACK if is_loopback else ()), *options.allow_host) or None
        faults = []

        def stop() -> None:
            faults.append(True)
            server.should_exit = True

        app = create_app(networks, limits, token=options.token, hosts=hosts, fault=stop)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=options.host,
                port=options.port,
                root_path=options.root_path,
                http="h11",
                ws="none",
                log_config=None,  # the lines of this program alone
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_SECONDS_TO_END,
                limit_concurrency=_CONNECTIONS,
            )
        )
        _serve(server, listening, options.root_path)
        return 1 if faults else 0


def _check_segments(networks) -> None:
    """Refuses `--segments`, which is for all checkpoints, where one of them says another concept itself.

    Raises:
      InputError: both concepts are named.
    """
    for one in networks:
        own, written = (writing_context(one.segmenter, one.options, told).segments for told in ((), one.segments))
        for name, concept in own.items():
            if written[name] != concept:
                raise InputError(
                    f"--segments says {written[name]} of the class {name!r}, and {one.name} says {concept} itself; "
                    "leave --segments out, or serve that checkpoint by itself"
                )


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens there, made before checkpoints are loaded: whoever connects meanwhile waits.

    Raises:
      InputError: there is no such host, or the port is taken or not allowed.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except (OSError, TypeError) as error:  # TypeError of a host that cannot be a name
        listening.close()
        why = getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen at --host {host} --port {port} ({why}); choose another") from None
    return listening


def _serve(server, listening: socket.socket, root_path: str) -> None:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host

    def stop(*_) -> None:
        server.should_exit = True

    # A signal may come before uvicorn listens for it; and those that end it are raised again when it has ended.
    for ends in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ends, stop)
    behind = f"; a proxy shows it at {root_path}/" if root_path else ""
    print(f"serving at http://{shown}:{port}/ (Ctrl-C ends it{behind})", flush=True)
    server.run(sockets=[listening])
