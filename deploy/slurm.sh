#!/usr/bin/env bash
# Trains on two machines of four GPUs, one process for each GPU.
#
#   sbatch deploy/slurm.sh --config folder_gpu --config.data.root=DIR --workdir RUN \
#     --config.train.batch_size=64
#
# Everything behind the script's name goes to ddim-jax train. DIR and RUN lie on a file system that all machines share. The
# folder this is submitted from holds the package and its environment, .venv (see README.md). train.batch_size has to be a
# multiple of the number of GPUs, eight here.
#SBATCH --job-name=ddim_jax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
# Five minutes before the time is up every process gets SIGTERM, saves a checkpoint and ends with status 75.
#SBATCH --signal=TERM@300
# After a machine is lost or the job is preempted Slurm starts it again, and training goes on from its last checkpoint.
#SBATCH --requeue
set -euo pipefail

if [ $# -eq 0 ]; then
  echo "usage: sbatch deploy/slurm.sh --config CONFIG --workdir RUN [--config.FIELD=VALUE ...]" >&2
  exit 2
fi
cd "${SLURM_SUBMIT_DIR:?start this with sbatch}"

# GPUs go to the machine rather than to tasks (--gpus-per-node, not --gpus-per-task): JAX gives task i of a machine its
# GPU i, which it has to see among all.
# Status 75 means that the run was stopped before its last step, or that a process was lost elsewhere: the same command
# goes on. srun gives the highest status of its tasks, which is 137 where the lost one was killed, out of memory for
# instance, and the others ended with 75; and 143 where SIGTERM came before Python listened to it.
status=0
# Since Slurm 22.05 srun does not take --cpus-per-task over from the job, and would give each task one CPU.
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
export PYTHONUNBUFFERED=1 # what a process says last is what tells why it ended
srun --kill-on-bad-exit=0 .venv/bin/ddim-jax train "$@" || status=$?
if { [ "$status" -eq 75 ] || [ "$status" -eq 137 ] || [ "$status" -eq 143 ]; } && [ "${SLURM_RESTART_COUNT:-0}" -lt 10 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
