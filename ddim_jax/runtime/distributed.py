"""Several processes that train one model: how they find each other."""

import os
import socket
import time
from collections.abc import Mapping

import jax

from ddim_jax.runtime.errors import ConfigError, InputError
from ddim_jax.runtime.launchers import Launched, find_launcher
from ddim_jax.runtime.processes import HEARTBEAT_SECONDS, say_on_abort

JOIN_SECONDS = 300
"""Limit on the wait for the others when a process starts."""
SHUTDOWN_SECONDS = 60
"""Limit on the wait for the others when a process is done."""


def initialise(
    coordinator: str | None = None, count: int | None = None, index: int | None = None, *, timeout: int = JOIN_SECONDS
) -> None:
    """Joins this process to the others of its run; called once, before any computation.

    By hand, all three arguments say how. With none of them, a process that srun, Open MPI's mpirun or an indexed
    Kubernetes Job started is joined as `jax.distributed.initialize` finds it; where there is no launcher, or one that
    started a single process, nothing is done at all. Under srun or mpirun the coordinator alone may be given.

    Args:
      coordinator: HOST:PORT of process 0, reachable from all; the port is free there.
      count: of processes, at least 1.
      index: of this one, 0 to count - 1.
      timeout: seconds after which joining is given up.

    Raises:
      ConfigError: the arguments are incomplete or cannot be meant.
      InputError: process 0 cannot be reached, or the launcher does not say enough.

    If the others do not come in time the runtime ends the process; a message says what was waited for.
    """
    coordinator, count, index, launched = _settle(coordinator, count, index, os.environ)
    if count == 1:
        return
    # Its handler would swallow SIGTERM until training begins; `training.stopping` agrees on a stop instead.
    jax.config.update("jax_enable_preemption_service", False)
    if coordinator is not None:
        host = coordinator.rpartition(":")[0].strip("[]")
        # Coordination is between machines of one cluster; a web proxy in between breaks it.
        for name in ("no_proxy", "no_grpc_proxy"):
            os.environ[name] = ",".join(filter(None, (os.environ.get(name), host)))
        if index != 0:
            _wait_for_port(coordinator, timeout)
    jax.config.update("jax_check_proxy_envs", False)
    who = launched.index if index is None else index
    others = "the others" if count is None else f"all {count} processes"
    too_late = (
        f"process {who}: {others} did not come together within {timeout} s at "
        f"{coordinator or 'the address that the launcher gives'}. Start as many processes as were announced, each with "
        "its own number from 0, and check that process 0 can be reached from the others."
    )
    take_back = say_on_abort(lambda: too_late)
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            _own_devices(launched, os.environ),
            # By hand all devices of the machine are this process's; a launcher may start one process for each.
            cluster_detection_method=None if launched else "deactivate",
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )
    except (ValueError, RuntimeError, OSError) as error:
        how = f"{launched.by} started this process, but joining the others failed" if launched else "joining failed"
        raise InputError(
            f"{how} ({type(error).__name__}: {error}). Give --coordinator-address, --process-count and --process-id "
            "by hand; see docs/how-to/several_machines.md."
        ) from error
    finally:
        take_back()


def _settle(
    coordinator: str | None, count: int | None, index: int | None, environment: Mapping[str, str]
) -> tuple[str | None, int | None, int | None, Launched | None]:
    """The arguments as they will be used, and the launcher if any; a count of 1 means that there is nothing to do.

    What is still None is for `jax.distributed.initialize` to find.
    """
    launched = find_launcher(environment)
    by_hand = [value is not None for value in (coordinator, count, index)]
    if any(by_hand) and launched:
        count = launched.count if count is None else count
        index = launched.index if index is None else index
    if not any(by_hand):
        if launched is None:
            return None, 1, 0, None
        # Both or none: where the launcher does not say how many there are, JAX asks the cluster.
        return None, launched.count, None if launched.count is None else launched.index, launched
    flags = {"--coordinator-address": coordinator, "--process-count": count, "--process-id": index}
    missing = [name for name, value in flags.items() if value is None]
    if missing:
        given = [name for name in flags if name not in missing]
        raise ConfigError(f"{', '.join(given)} without {', '.join(missing)}; expected all three of them, or none")
    if count < 1:
        raise ConfigError(f"--process-count is {count}; expected a whole number from 1")
    if not 0 <= index < count:
        raise ConfigError(f"--process-id is {index}; expected 0 to {count - 1}, each for one of {count} processes")
    port = coordinator.rpartition(":")[2]
    if ":" not in coordinator or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"--coordinator-address is {coordinator!r}; expected HOST:PORT, as node1:29500")
    return coordinator, count, index, launched


def _own_devices(launched: Launched | None, environment: Mapping[str, str]) -> list[int] | None:
    """The GPU of this process where mpirun started one for each GPU of a machine; None: for JAX to find, or all.

    JAX knows mpirun of Open MPI up to 4 alone. With 5 every process would take all GPUs or, within a job of Slurm, the
    one of the task that started mpirun's processes there. `JAX_LOCAL_DEVICE_IDS` goes first, as it does in JAX.
    """
    if launched is None or launched.local_index is None or "JAX_LOCAL_DEVICE_IDS" in environment:
        return None
    return [launched.local_index]


def _wait_for_port(address: str, timeout: float) -> None:
    """Returns once something listens at `address`: left to the runtime, this ends in abort() rather than an error."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + timeout
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=min(5.0, timeout)):
                return
        except OSError as error:
            if time.monotonic() > end:
                raise InputError(
                    f"process 0 cannot be reached at {address} (--coordinator-address) for {timeout} s "
                    f"({error.strerror or error}). Is it started, is the port open, is the name right?"
                ) from error
        time.sleep(0.5)
