"""The training run: from a configuration and a folder to checkpoints in it, resumable at any moment."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ddim_jax import __version__
from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.config import resolve_config, total_steps
from ddim_jax.data import Source, Subset, check_source, ids_digest, load_dataset
from ddim_jax.models import create_model, create_process
from ddim_jax.runtime.atomic import check_place, json_text, make_folder, write_json
from ddim_jax.runtime.distributed import check_shared, first_alone
from ddim_jax.runtime.errors import InUseError
from ddim_jax.runtime.one_training import OneTraining
from ddim_jax.runtime.peers import Alone, Peers, watched_peers
from ddim_jax.runtime.processes import as_first, wait_for_all
from ddim_jax.runtime.remote import refuse_remote
from ddim_jax.runtime.signals import StopRequest, stop_on_signals
from ddim_jax.training.input_pipeline import Feed
from ddim_jax.training.nan_guard import LossWatch, NonFiniteLoss
from ddim_jax.training.optimiser import create_optimiser, learning_rate_schedule
from ddim_jax.training.reporting import Reporter
from ddim_jax.training.resume import find_checkpoint, restore
from ddim_jax.training.sharding import data_mesh, place
from ddim_jax.training.state import create_state, load_weights, parameter_count, start_from
from ddim_jax.training.step import make_train_step
from ddim_jax.training.validation import Validator


def train(config: Any, workdir: str | os.PathLike, request: StopRequest | None = None) -> int:
    """Trains as `config` says, with everything it writes below `workdir`; resumes the run that lies there.

    Writes config.json, checkpoints/<step>/, metrics.jsonl and tensorboard/. SIGTERM and Ctrl-C save a checkpoint and
    end the run; the same call goes on from there, to the same bit as if it had never stopped (on one kind of device).
    They do not wait for a validation: that step's checkpoint has no score then.

    With several processes (`jax.process_count()`) each calls this with the same arguments. They share `workdir` and
    stop at the same step; process 0 alone writes numbers and pictures. An error then ends the process here, with a
    message, and each of the others with one that names it.

    Args:
      config: with the fields of `ddim_jax.config.SCHEMA`; ml_collections or a plain mapping.
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
      NonFiniteLoss: the loss or a gradient is not finite; the last good checkpoint stays.
    """
    refuse_remote(workdir, "workdir")
    request = StopRequest() if request is None else request  # one that was not made yet counts as False
    try:
        with OneTraining(Path(workdir)) as one_training, watched_peers(request) as peers:
            return _train(resolve_config(config), Path(workdir), request, peers, one_training)
    finally:
        request.leave_at_once(None)


def _train(
    config: Mapping[str, Any], workdir: Path, request: StopRequest, peers: Alone | Peers, one_training: OneTraining
) -> int:
    check_place(workdir)
    about = config["model"]
    model = create_model(about["name"], preset=about["preset"], **about["overrides"])
    process = create_process(model, config["diffusion"])
    fields, data = config["train"], config["data"]
    batch_size, image_size, seed = fields["batch_size"], data["image_size"], config["seed"]
    mesh = data_mesh(batch_size, accumulate=fields["accumulate"])

    store = CheckpointStore(workdir / "checkpoints", keep_latest=fields["keep_latest"])
    # What can be refused is, before the data are read: that writes a split beside them where there is none.
    one_training.hold_if_known()
    steps_there = store.steps()
    found = find_checkpoint(store, config, str(workdir))
    given = None
    if found is None and fields["init_from"] is not None:
        given = load_weights(fields["init_from"], model, image_size)

    train_source, val_source = first_alone(lambda: [_load(data, split) for split in ("train", "val")])
    steps = total_steps(fields["steps"], fields["epochs"], batch_size, len(train_source))
    rate = learning_rate_schedule(fields["lr_schedule"], fields["learning_rate"], fields["warmup_steps"], steps)
    optimiser = create_optimiser(
        rate, beta1=fields["beta1"], beta2=fields["beta2"], gradient_clip=fields["gradient_clip"]
    )

    identity = {
        "train_ids_sha256": ids_digest(train_source),
        "train_examples": len(train_source),
        "val_ids_sha256": ids_digest(val_source),
    }
    metadata = {"config": config, "package_version": __version__, "data": identity}
    if found is None:
        state, start_step = create_state(model, optimiser, image_size, seed), 0
        if given is not None:
            state, given = start_from(state, given), None  # it would be kept for the whole run
    else:
        here = {"model": model, "optimiser": optimiser, "image_size": image_size, "mesh": mesh}
        state = restore(store, found, identity, str(workdir), **here)
        start_step = int(state.step)
        peers.checkpoint = _last_checkpoint(store)
    if start_step >= steps:
        if jax.process_index() == 0:
            print(f"{workdir} holds a finished run of {start_step} steps; nothing to do.")
        return start_step

    check_source(*(_own_share(source) for source in (train_source, val_source)))
    validator = Validator(
        model,
        process,
        val_source,
        image_size=image_size,
        count=fields["validation_images"],
        batch_size=batch_size,
        steps=fields["validation_steps"],
        clip_x0=config["sample"]["clip_x0"],
        seed=seed,
    )
    feed = Feed(
        train_source,
        mesh,
        image_size=image_size,
        batch_size=batch_size,
        seed=seed,
        resident_bytes=data["resident_bytes"],
    )
    state = place(mesh, state)
    train_step = make_train_step(
        model,
        process,
        optimiser,
        mesh,
        seed=seed,
        ema_decay=fields["ema_decay"],
        rotation_degrees=data["rotation_degrees"],
        flips=data["flips"],
        accumulate=fields["accumulate"],
    )
    if jax.process_index() == 0:
        make_folder(workdir)  # not before: data that cannot be used leave no run behind
        one_training.hold()
        if store.steps() != steps_there:
            raise InUseError(f"{workdir}: another training was at work there; start the same command again to go on")
        write_json(workdir / "config.json", config)
    wait_for_all("config.json")
    check_shared(workdir / "config.json", json_text(config))
    with contextlib.ExitStack() as stack:

        def say_nothing_lost(signal_name: str) -> None:
            reporter.message(
                f"{signal_name}: no step was made after step {start_step}, stopped; the same command goes on from there"
            )

        stack.enter_context(stop_on_signals(request))
        reporter = None
        if jax.process_index() == 0:
            reporter = Reporter(workdir, steps=steps, start_step=start_step, batch_size=batch_size)
            stack.enter_context(reporter)
        # Several make the first step whatever comes, to stop after the same one.
        request.leave_at_once(say_nothing_lost if jax.process_count() == 1 else None)
        if reporter:
            reporter.message(
                f"{about['name']}: {parameter_count(state.params):,} parameters, {len(train_source)} training and "
                f"{len(val_source)} validation images at {image_size} x {image_size}, "
                f"{len(jax.devices())} x {jax.devices()[0].device_kind}{_of_processes()}, "
                f"{'resumes' if start_step else 'starts'} at step {start_step} of {steps}"
            )

        def scores_of(step: int) -> dict[str, float] | None:
            """Validates; None where that was given up because the run is to stop, as process 0 says for all.

            Each process gives up when it hears of the stop, and none waits for another before it comes here. That of
            the last step is not given up: no other would ever score it.
            """
            result = validator(_local(state.ema_params), given_up=lambda: step < steps and peers.is_stopping)
            if not as_first(int(result is not None)):
                return None
            loss, dice = (as_first(0.0 if result is None else getattr(result, name)) for name in ("loss", "dice"))
            if not np.isfinite(loss):
                raise NonFiniteLoss(f"the validation loss of step {step} is {loss}")
            if reporter:
                reporter.validation(step, result._replace(loss=loss, dice=dice))
            return {"dice": dice, "loss": loss}

        def save(step: int, validate: bool) -> None:
            scores = scores_of(step) if validate else None
            kept = {"step": state.step, "params": state.params, "opt_state": state.opt_state}
            store.save(step, state=kept, ema_params=state.ema_params, metadata=metadata, metrics=scores)
            peers.checkpoint = _last_checkpoint(store)

        def report(step: int) -> None:
            means = watch.drain()
            if reporter and means:
                reporter.training(step, {**means, "learning_rate": float(rate_at(step - 1))})

        rate_at = jax.jit(rate)  # one small program; each of its operations by itself would be ten, compiled one by one
        watch = LossWatch()
        peers.begin(start_step + 1)
        try:
            for step, batch in enumerate(feed.batches(start_step), start=start_step + 1):
                state, metrics = train_step(state, batch)
                watch.add(step, metrics)
                if reporter and step == start_step + 1:
                    jax.block_until_ready(metrics)
                    request.leave_at_once(None)
                    reporter.restart_clock(step)
                due = step == steps or step % fields["checkpoint_every"] == 0
                # Asked once: a signal may come between the lines below.
                stopping = step < steps and peers.stops_after(step)
                if step % fields["log_every"] == 0 or due or stopping:
                    report(step)
                if due or stopping:
                    save(step, validate=due and not stopping)
                    # A signal may have come meanwhile; nobody has begun another step, and process 0 decides for all.
                    stopping = stopping or (step < steps and bool(as_first(int(peers.is_stopping))))
                    if reporter:
                        reporter.restart_clock(step)
                if stopping:
                    request.ended_by = peers.ended_by
                    if reporter:
                        left = f"saved step {step}, stopped; the same command goes on from there"
                        reporter.message(f"{peers.reason}: {left}")
                if stopping or step == steps:
                    return step
        except NonFiniteLoss as error:
            last = store.steps()
            kept = f"the last good checkpoint is step {last[-1]}" if last else "there is no checkpoint yet"
            raise NonFiniteLoss(
                f"{error}; stopped, {kept} in {store.directory}. Start again with a lower train.learning_rate, more "
                "train.warmup_steps or a train.gradient_clip of 1, in another --workdir."
            ) from error
    raise AssertionError("the feed has no end")


def _load(data: Mapping[str, Any], split: str) -> Source:
    return load_dataset(
        data["name"],
        split,
        root=data["root"],
        seed=data["split_seed"],
        image_size=data["image_size"],
        cache_dir=data["cache_dir"],
        counts=data["counts"],
    )


def _own_share(source: Source) -> Source:
    """The pairs that this process looks at before training; together the processes look at all."""
    count = jax.process_count()
    return source if count == 1 else Subset(source, range(jax.process_index(), len(source), count))


def _last_checkpoint(store: CheckpointStore) -> str:
    steps = store.steps()
    return f"The last checkpoint is step {steps[-1]} in {store.directory}" if steps else "There is no checkpoint yet"


def _of_processes() -> str:
    return f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""


def _local(tree: Any) -> Any:
    """The replicated arrays of a tree as single-device arrays of this process."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
