"""The training run: from a configuration and a folder to checkpoints in it, resumable at any moment."""

import contextlib
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint  # noqa: F401  now: the installation may be another one by the first save

from ddim_jax import __version__
from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.config import resolve_config, total_steps
from ddim_jax.data import (
    Augmentation,
    Order,
    Source,
    annotators_of,
    configured,
    ids_digest,
    load_dataset,
    note_of,
    with_empty_windows,
)
from ddim_jax.data.preflight import describe
from ddim_jax.labels import Labels
from ddim_jax.models import create_model, create_process
from ddim_jax.models.spec import check_memory
from ddim_jax.ops.surroundings import surroundings
from ddim_jax.runtime.atomic import check_place
from ddim_jax.runtime.compile_clock import CompileClock
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.pinned import pinned
from ddim_jax.runtime.printable import printable
from ddim_jax.runtime.processes import LastWord, as_first, ending_together, first_alone, of_all
from ddim_jax.runtime.remote import local_path
from ddim_jax.runtime.signals import StopRequest, stop_on_signals
from ddim_jax.training import same_pixels
from ddim_jax.training.adversarial import Adversary
from ddim_jax.training.input_pipeline import batches, read_pictures, read_unlabelled, with_unlabelled
from ddim_jax.training.logging import DeferredErrors, Reporter, create_reporter
from ddim_jax.training.mean_teacher import MeanTeacher
from ddim_jax.training.nan_guard import LossWatch, NonFiniteLoss, last_good_checkpoint_named
from ddim_jax.training.one_training import OneTraining, begin_folder, check_files
from ddim_jax.training.optimiser import configured_optimiser
from ddim_jax.training.resume import check_not_away, find_checkpoint, restore
from ddim_jax.training.sharding import data_mesh, place
from ddim_jax.training.state import TrainState, create_state, load_weights, parameter_count, start_from
from ddim_jax.training.step import make_train_step
from ddim_jax.training.stopping import Stop
from ddim_jax.training.validation import Validator, validation_options, validation_rows


@pinned()
def train(config: Any, workdir: str | os.PathLike, request: StopRequest | None = None) -> int:
    """Trains as `config` says, with everything it writes below `workdir`; resumes the run that lies there.

    Writes config.json, checkpoints/<step>/, metrics.jsonl and tensorboard/. SIGTERM and Ctrl-C save a checkpoint and
    end the run; the same call goes on from there, to the same bit as if it had never stopped (on one kind of device).
    They do not wait for a validation: that step's checkpoint has no score then.

    With several processes (`jax.process_count()`) each calls this with the same arguments. They share `workdir` and
    stop at the same step; process 0 alone writes numbers and pictures. An error then ends the process here, with a
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
    workdir = local_path(workdir, "workdir")
    request = StopRequest() if request is None else request  # one that was not made yet counts as False
    try:
        with OneTraining(workdir) as one_training, ending_together(request) as last_word:
            return _train(resolve_config(config), workdir, request, one_training, last_word)
    finally:
        request.leave_at_once(None)


def _train(
    config: Mapping[str, Any], workdir: Path, request: StopRequest, one_training: OneTraining, last_word: LastWord
) -> int:
    # The model and its process. What can be refused is, before the data are touched.
    check_place(workdir)
    check_files(workdir)
    about, fields, data, seed = config["model"], config["train"], config["data"], config["seed"]
    labels = Labels.from_config(data)
    model = create_model(about["name"], preset=about["preset"], mask_channels=labels.channels, **about["overrides"])
    process = create_process(model, config["diffusion"], labels)
    batch_size, image_size = fields["batch_size"], data["image_size"]
    check_memory(model, image_size)
    mesh = data_mesh(batch_size, accumulate=fields["accumulate"])

    # The run that lies there.
    store = CheckpointStore(workdir / "checkpoints", keep_latest=fields["keep_latest"])
    one_training.hold_if_known()
    steps_there = store.steps()
    found = find_checkpoint(store, config, str(workdir))
    check_not_away(found, one_training.last_saved, store)
    initial = None
    if found is None and fields["init_from"] is not None:
        initial = load_weights(fields["init_from"], model, image_size, labels)

    # The data set, which decides the length of an epoch, and the optimiser.
    whole, val_source = first_alone(lambda: [_load(data, split) for split in ("train", "val")])
    steps = total_steps(fields["steps"], fields["epochs"], batch_size, len(whole))
    optimiser = configured_optimiser(fields, steps)

    unlabelled = None
    if data["unlabelled"]:
        unlabelled = read_unlabelled(data, {"train": whole, "val": val_source})

    # The state, fresh or restored.
    identity = {
        "train_ids_sha256": ids_digest(whole),
        "train_examples": len(whole),
        "val_ids_sha256": ids_digest(val_source),
        "unlabelled_ids_sha256": None if unlabelled is None else ids_digest(unlabelled),
    }
    if found is None:
        state = create_state(model, optimiser, image_size, seed)
        if initial is not None:
            state, initial = start_from(state, initial), initial.description  # they would be kept for the whole run
    else:
        here = {"model": model, "optimiser": optimiser, "image_size": image_size, "mesh": mesh}
        state = restore(store, found, identity, str(workdir), **here)
        last_word.checkpoint = _last_checkpoint(store)
    start_step = int(state.step)
    if start_step >= steps:
        if jax.process_index() == 0:
            print(f"{printable(workdir)} holds a finished run of {start_step} steps; nothing to do.")
        return start_step
    state = place(mesh, state)

    # The pictures, the step and the validation.
    train_source = with_empty_windows(whole, data["empty_windows"], seed)
    if train_source is not whole and len(set(of_all(train_source.digest))) > 1:
        raise DataError(f"{data['root']}: the processes do not read the same pictures (data.empty_windows).")
    rows = validation_rows(len(val_source), fields["validation_images"])
    pictures = read_pictures(
        train_source,
        val_source,
        rows,
        mesh,
        image_size=image_size,
        resident_bytes=data["resident_bytes"],
        crop_seed=seed if data["crop"] else None,
    )
    digests = pictures.digests if unlabelled is None else pictures.digests | unlabelled.digests
    identity[same_pixels.FIELD] = same_pixels.digest_of(digests)
    if found is not None:
        same_pixels.check_same_pixels(store.metadata(found), digests, workdir, refuse=data["same_pixels"])
    sampling = validation_options(config)
    train_step = make_train_step(
        model,
        process,
        optimiser,
        mesh,
        seed=seed,
        ema_decay=fields["ema_decay"],
        augmentation=Augmentation.from_config(data),
        accumulate=fields["accumulate"],
        adversary=Adversary.from_config(fields),
        teacher=MeanTeacher(fields["unlabelled_weight"], sampling) if unlabelled else None,
    )
    validator = Validator(model, process, pictures.validation, batch_size=batch_size, options=sampling, seed=seed)

    begin_folder(workdir, config, one_training, is_unchanged=lambda: store.steps() == steps_there)
    if jax.process_index() == 0:
        same_pixels.write_digests(workdir, digests)
        if data["folds"]:
            whole.division.write(workdir / "folds.csv")
    with contextlib.ExitStack() as stack:
        stack.enter_context(stop_on_signals(request))
        reporter = stack.enter_context(
            create_reporter(workdir, steps=steps, start_step=start_step, batch_size=batch_size)
        )
        stack.enter_context(last_good_checkpoint_named(store))
        stop = Stop(request, mesh)
        _leave_at_once_until_the_first_step(request, reporter, start_step)
        reporter.message(
            f"{about['name']}: {parameter_count(state.params):,} parameters, {len(whole)} training and "
            f"{len(val_source)} validation images {'in crops of' if data['crop'] else 'at'} "
            f"{image_size} x {image_size}, "
            f"{len(jax.devices())} x {jax.devices()[0].device_kind}{_of_processes()}, "
            f"{'resumes' if start_step else 'starts'} at step {start_step} of {steps}"
        )
        if initial:
            reporter.message(initial)
        if data["folds"]:
            reporter.message(
                f"fold {data['fold']} of {data['folds']}; those of all pictures are in the run's folds.csv"
            )
        if annotators := annotators_of(train_source):
            reporter.message(f"{annotators} annotators: the mask of one is drawn each time a picture is trained on")
        if note := note_of(train_source):
            reporter.message(note)
        if unlabelled:
            reporter.message(f"{len(unlabelled.ids)} unlabelled pictures beside them, as many in each step")
            for line in unlabelled.told:
                reporter.message(line)
        if data["empty_windows"]:
            reporter.message(
                f"{len(train_source) - len(whole)} parts of training pictures without a structure beside them, as "
                f"pictures with an empty mask; {round(data['empty_windows'] * len(whole))} were wanted"
            )
        facts = [fact for row, fact in pictures.facts.items() if row < len(whole)]
        for name, told, advice in describe(facts, None if data["crop"] else image_size, labels):
            reporter.message(f"{name}: {told}" + (f" -> {advice}" if advice else ""))
        metadata = {"config": config, "package_version": __version__, "data": identity}
        metadata |= {"surroundings": surroundings()}
        # One small program; each of its operations by itself would be ten, compiled one by one.
        rate_at = jax.jit(optimiser.learning_rate)
        watch, deferred = LossWatch(stop=stop), DeferredErrors()
        order = Order(batch_size, seed, start_step, jax.process_index(), jax.process_count())
        train_batches = batches(
            train_source,
            pictures.resident,
            mesh,
            order,
            image_size=image_size,
            crops_of_bytes=data["resident_bytes"] if data["crop"] else None,
        )
        if unlabelled:
            train_batches = with_unlabelled(train_batches, place(mesh, unlabelled.images), mesh, order)
        clock = stack.enter_context(CompileClock())
        for step, batch in enumerate(train_batches, start=start_step + 1):
            state, metrics = train_step(state, stop.flagged(batch))
            watch.add(step, metrics)
            if step == start_step + 1:
                jax.block_until_ready(metrics)
                request.leave_at_once(None)
                reporter.message(f"the first step took {clock.told()}")
                reporter.restart_clock(step)
            due = step == steps or step % fields["checkpoint_every"] == 0
            stopping = step < steps and bool(stop)  # asked once: a signal may come between the lines below
            if step % fields["log_every"] == 0 or due or stopping:
                means = watch.drain()
                if means:
                    deferred(reporter.training, step, {**means, "learning_rate": float(rate_at(step - 1))})
            if due or stopping or deferred.refusal:
                scores = None
                if due and not stopping:
                    # That of the last step is not given up for a signal: no other would ever score it.
                    given_up = stop.is_asked_anywhere if step < steps else lambda: False
                    scores = _validate(
                        validator, state, step, functools.partial(deferred, reporter.validation), given_up
                    )
                one_training.check_place()
                kept = {"step": state.step, "params": state.params, "opt_state": state.opt_state}
                store.save(step, state=kept, ema_params=state.ema_params, metadata=metadata, metrics=scores)
                one_training.saved(step)
                last_word.checkpoint = _last_checkpoint(store)
                deferred.raise_refusal()
                # A signal may have come meanwhile; nobody has begun another step.
                stopping = stopping or (step < steps and stop.is_asked_anywhere())
                reporter.restart_clock(step)
            if stopping:
                request.ended_by, reason = stop.reason()
                reporter.message(f"{reason}: saved step {step}, stopped; the same command goes on from there")
            if stopping or step == steps:
                return step
    raise AssertionError("the batches have no end")


def _load(data: Mapping[str, Any], split: str) -> Source:
    return load_dataset(split=split, **configured(data))


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
    result = result._replace(loss=as_first(result.loss), dice=as_first(result.dice))
    if not np.isfinite(result.loss):
        raise NonFiniteLoss(f"the validation loss of step {step} is {result.loss}")
    report(step, result)
    return {"dice": result.dice, "loss": result.loss}


def _last_checkpoint(store: CheckpointStore) -> str:
    steps = store.steps()
    return f"The last checkpoint is step {steps[-1]} in {store.directory}" if steps else "There is no checkpoint yet"


def _of_processes() -> str:
    return f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""


def _local(tree: Any) -> Any:
    """The replicated arrays of a tree as single-device arrays of this process."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
