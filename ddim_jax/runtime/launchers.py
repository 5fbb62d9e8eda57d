"""The launcher that started this process among others, as the environment tells of it."""

from collections.abc import Mapping
from typing import NamedTuple

from ddim_jax.runtime.errors import InputError


class _Launcher(NamedTuple):
    by: str
    index: str
    count: str | None
    sign: str | None = None
    local: str | None = None


_LAUNCHERS = (
    # mpirun may run below srun, and then sets its own beside what srun set for mpirun's daemons.
    _Launcher("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", local="OMPI_COMM_WORLD_LOCAL_RANK"),
    # Of the job step: SLURM_NTASKS is there outside of srun too, where one process has to do everything.
    _Launcher("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    # In a container that was given only what JAX's own detection reads.
    _Launcher("srun", "SLURM_PROCID", "SLURM_NTASKS", sign="SLURM_STEP_NODELIST"),
    # Of a pod of an indexed Job; how many pods there are, no variable says.
    _Launcher("a Kubernetes Job", "JOB_COMPLETION_INDEX", None),
)
"""Launchers that start one process for each task, of those that `jax.distributed.initialize` detects."""


class Launched(NamedTuple):
    """The place of this process among those that a launcher started.

    Attributes:
      by: the launcher, in words.
      index: which of the processes this is, from 0.
      count: how many there are; None where the launcher does not say.
      index_name: the variable with the index, for messages.
      local_index: which it is of those on its machine, from 0; None where that is left to JAX to find.
    """

    by: str
    index: int
    count: int | None
    index_name: str
    local_index: int | None = None


def find_launcher(environment: Mapping[str, str]) -> Launched | None:
    """Reads what Open MPI's mpirun, Slurm's srun or an indexed Kubernetes Job wrote into `environment`; None without.

    Raises:
      InputError: a variable is no whole number.
    """
    for by, index, count, sign, local in _LAUNCHERS:
        if all(name in environment for name in (index, count, sign) if name is not None):
            numbers = [_number(name, environment) for name in (index, count, local)]
            return Launched(by, *numbers[:2], index_name=index, local_index=numbers[2])
    return None


def _number(name: str | None, environment: Mapping[str, str]) -> int | None:
    if name is None or name not in environment:
        return None
    try:
        return int(environment[name])
    except ValueError:
        raise InputError(f"the environment variable {name} is {environment[name]!r}; expected a whole number") from None
