"""The training run: from a configuration and a folder to checkpoints in it, resumable at any moment."""

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint  # noqa: F401  now: the installation may be another one by the first save

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.config import resolve_config
from ddim_jax.data import Order, annotators_of
from ddim_jax.data.pixels import write_pixels
from ddim_jax.runtime.once import say_once
from ddim_jax.runtime.pinned import pinned
from ddim_jax.runtime.printable import printable
from ddim_jax.runtime.processes import PeerLossMessage, broadcast_from_first, ending_together
from ddim_jax.runtime.remote import local_path
from ddim_jax.runtime.signals import StopRequest, stop_on_signals
from ddim_jax.runtime.values import quantity
from ddim_jax.training.announcements import announcements
from ddim_jax.training.input_pipeline import batches, keep_split, with_unlabelled
from ddim_jax.training.logging import DeferredErrors, Reporter, create_reporter
from ddim_jax.training.nan_guard import LossWatch, NonFiniteLoss, last_good_checkpoint_named
from ddim_jax.training.one_training import FOLDS, OneTraining, begin_folder
from ddim_jax.training.resume import changed_in_vain
from ddim_jax.training.run_parts import Run
from ddim_jax.training.setup import PreparedRun, open_run, prepare
from ddim_jax.training.sharding import place
from ddim_jax.training.state import TrainState
from ddim_jax.training.step import Batch
from ddim_jax.training.stopping import Stop
from ddim_jax.training.validation import Validator


@pinned()
def train(config: Any, workdir: str | os.PathLike, request: StopRequest | None = None) -> int:
    """Trains as `config` says, with everything it writes below `workdir`; resumes the run that lies there.

    Writes config.json, checkpoints/<step>/, metrics.jsonl, tensorboard/, pixels.csv, .training.lock and, of a
    cross-validation, folds.csv. SIGTERM and Ctrl-C save a checkpoint and end the run; the same call goes on from there,
    to the same bit as if it had never stopped (on one kind of device). They do not wait for a validation: that step's
    checkpoint has no score then.

    With several processes (`jax.process_count()`) each calls this with the same arguments. They share `workdir` and
    stop at the same step; process 0 alone writes numbers and images. An error then ends the process here, with a
    message, and each of the others within a minute, with one that says that a process is lost.

    Args:
      config: with the fields of `ddim_jax.schema.SCHEMA`; ml_collections or a plain mapping.
      workdir: the folder of the run, made if it is not there.
      request: told by which signal the run ended early, if it did. A caller may listen for signals with it already
        (`stop_on_signals`); what it does with one until training begins stays so with a single process.

    Returns:
      The step reached: all of them, or fewer if the run was asked to stop.

    Raises:
      ConfigError: a field cannot work, or `workdir` holds a run with another configuration.
      InputError: a path is of remote storage.
      DataError: the data cannot be used.
      CheckpointError: there are checkpoints, none of them intact.
      InUseError: another training is at work in `workdir`.
      OSError: the disk refuses a checkpoint, or the numbers of the run: then a checkpoint was saved before.
      NonFiniteLoss: the loss or a gradient is not finite; the last good checkpoint stays.
    """
    say_once.cache_clear()
    workdir = local_path(workdir, "workdir")
    request = StopRequest() if request is None else request  # one that was not made yet counts as False
    try:
        with OneTraining(workdir) as one_training, ending_together(request) as peer_loss:
            return _train(resolve_config(config), workdir, request, one_training, peer_loss)
    finally:
        request.leave_at_once(None)


def _train(
    config: Mapping[str, Any],
    workdir: Path,
    request: StopRequest,
    one_training: OneTraining,
    peer_loss: PeerLossMessage,
) -> int:
    run, state = open_run(config, workdir, one_training)
    config = run.config
    peer_loss.checkpoint = _last_checkpoint(run.store)
    if run.start_step >= run.steps:
        if jax.process_index() == 0:
            finished = f"{workdir} holds a finished run of {quantity(run.start_step, 'step')}; nothing to do."
            print(printable(finished + changed_in_vain(run.saved, config)))
        return run.start_step
    state = place(run.mesh, state)
    run.store.check_room(_kept(state), state.ema_params)  # before images are read and programs compiled
    prepared = prepare(run)

    keep_split(run.data.train)
    begin_folder(workdir, config, one_training, is_unchanged=run.is_unchanged)
    if jax.process_index() == 0:
        write_pixels(workdir, prepared.digests, prepared.trained_on)
        if config["data"]["folds"]:
            run.data.train.division.write(workdir / FOLDS)
    saver = _Saver(run.store, prepared.metadata, one_training, peer_loss)
    with (
        stop_on_signals(request),
        create_reporter(
            workdir, steps=run.steps, start_step=run.start_step, batch_size=config["train"]["batch_size"]
        ) as reporter,
        last_good_checkpoint_named(run.store),
    ):
        _leave_at_once_until_the_first_step(request, reporter, run.start_step)
        reporter.messages(announcements(run, prepared))
        return _make_steps(run, prepared, state, saver, reporter, request)


class _Saver(NamedTuple):
    """Saves checkpoints in a folder that is still the one that was taken, and notes each where it is asked for."""

    store: CheckpointStore
    metadata: Mapping[str, Any]
    one_training: OneTraining
    peer_loss: PeerLossMessage

    def __call__(self, step: int, state: TrainState, scores: dict[str, float] | None) -> None:
        self.store.save(
            step,
            state=_kept(state),
            ema_params=state.ema_params,
            metadata=self.metadata,
            metrics=scores,
            check_place=self.one_training.check_place,
        )
        self.one_training.saved(step)
        self.peer_loss.checkpoint = _last_checkpoint(self.store)


def _make_steps(
    run: Run, prepared: PreparedRun, state: TrainState, saver: _Saver, reporter: Reporter, request: StopRequest
) -> int:
    """Makes the steps that are left, with their log, validations and checkpoints; returns the step reached."""
    fields, steps = run.config["train"], run.steps
    stop = Stop(request, run.mesh)
    watch, deferred = LossWatch(stop=stop), DeferredErrors(stop)
    # One small program; each of its operations by itself would be ten, compiled one by one.
    rate_at = jax.jit(run.optimiser.learning_rate)
    began = time.perf_counter()
    for step, batch in enumerate(_batches(run, prepared), start=run.start_step + 1):
        state, metrics = prepared.train_step(state, stop.flagged(batch))
        watch.add(step, metrics)
        if step == run.start_step + 1:
            jax.block_until_ready(metrics)
            request.leave_at_once(None)
            reporter.message(f"the first step took {time.perf_counter() - began:.1f} s")
            reporter.restart_clock(step)
        due = step == steps or step % fields["checkpoint_every"] == 0
        stopping = step < steps and bool(stop)  # asked once: a signal may come between the lines below
        if step % fields["log_every"] == 0 or due or stopping:
            means = watch.drain()
            if means:
                deferred(reporter.training, step, {**means, "learning_rate": float(rate_at(step - 1))})
        if due or stopping:
            scores = None
            if due and not stopping:
                # That of the last step is not given up for a signal: no other would ever score it.
                given_up = stop.is_asked_anywhere if step < steps else lambda: False
                report = functools.partial(deferred, reporter.validation)
                scores = _validate(prepared.validator, state, step, report, given_up)
            saver(step, state, scores)
            deferred.raise_refusal()
            # A signal may have come meanwhile; nobody has begun another step.
            stopping = stopping or (step < steps and stop.is_asked_anywhere())
            reporter.restart_clock(step)
        if stopping:
            request.ended_by, reason = stop.reason()
            reporter.message(f"{reason}: saved step {step}, stopped; the same command goes on from there")
        elif step == steps:
            reporter.message(_finished(run))
        if stopping or step == steps:
            return step
    raise AssertionError("the batches have no end")


def _finished(run: Run) -> str:
    """The last line of a run that has made all its steps: its best step, and what to do next."""
    best = run.store.best()
    told = f"; the best in validation is step {best[0]}, with a Dice of {best[1]:.4f}" if best else ""
    # The best by their consensus need not have the best samples.
    latest = " --checkpoint-step latest" if annotators_of(run.data.train) else ""
    return f"{run.workdir} is finished{told}. Next: ddim-jax evaluate --ckpt {run.workdir} --split val{latest}"


def _batches(run: Run, prepared: PreparedRun) -> Iterator[Batch]:
    """The batches from the first step to be made on, without end."""
    data, unlabelled = run.config["data"], run.data.unlabelled
    order = Order(
        run.config["train"]["batch_size"],
        run.config["seed"],
        run.start_step,
        jax.process_index(),
        jax.process_count(),
    )
    labelled = batches(
        prepared.source,
        prepared.pictures.resident,
        run.mesh,
        order,
        image_size=data["image_size"],
        crops_of_bytes=data["resident_bytes"] if data["crop"] else None,
    )
    return with_unlabelled(labelled, place(run.mesh, unlabelled.images), run.mesh, order) if unlabelled else labelled


def _leave_at_once_until_the_first_step(request: StopRequest, reporter: Reporter, start_step: int) -> None:
    """A signal ends a single process at once until something is to be saved; several stop after the same step."""
    if jax.process_count() > 1:
        request.leave_at_once(None)
        return
    request.leave_at_once(
        lambda signal_name: reporter.message(
            f"{signal_name}: no step was made after step {start_step}, stopped; the same command goes on from there"
        )
    )


def _validate(
    validator: Validator, state: TrainState, step: int, report: Callable[..., None], given_up: Callable[[], bool]
) -> dict[str, float] | None:
    """Scores the averaged weights; None where that was given up because the run is to stop.

    Raises:
      NonFiniteLoss: the loss is not a number.
    """
    result = validator(_local(state.ema_params), given_up=given_up)
    if result is None:
        return None
    # Every process has computed the same but for rounding.
    result = result._replace(loss=broadcast_from_first(result.loss), dice=broadcast_from_first(result.dice))
    if not np.isfinite(result.loss):
        raise NonFiniteLoss(f"the validation loss of step {step} is {result.loss}")
    report(step, result)
    return {"dice": result.dice, "loss": result.loss}


def _kept(state: TrainState) -> dict[str, Any]:
    """The part of a state that a checkpoint has beside the averaged weights."""
    return {"step": state.step, "params": state.params, "opt_state": state.opt_state}


def _last_checkpoint(store: CheckpointStore) -> str:
    steps = store.steps()
    return f"The last checkpoint is step {steps[-1]} in {store.directory}" if steps else "There is no checkpoint yet"


def _local(tree: Any) -> Any:
    """The replicated arrays of a tree as single-device arrays of this process."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
