"""Train one network with Lightning: resumable, seeded, with averaged weights."""

from __future__ import annotations

import hashlib
import logging
import math
import signal
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from safetensors.torch import save
from torch.utils.data import DataLoader

from maskmend.core import QUIET, Listener, TrainingProgress
from maskmend.errors import (
    RunMismatchError,
)
from maskmend.files import atomic_file, read_json, write_bytes_atomic, write_csv, write_json
from maskmend.learning.batches import (
    SeededOrder,
    TrainingCases,
)
from maskmend.learning.compute import Compute
from maskmend.learning.prediction import Trained, load_trained
from maskmend.learning.task import SegmentationTask, epochs_of
from maskmend.settings import TrainingSettings

EXPECTED_WARNINGS = (
    "Checkpoint directory .* exists and is not empty",  # training.json lies there
    "The number of training batches .* is smaller than the logging interval",  # we log by epochs
    "The '.*dataloader' does not have many workers",  # the data is in memory
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own
)
METRICS = ("epoch", "loss", "monitor_dice", "kept")


def train_network(
    data: TrainingCases, settings: TrainingSettings, folder: Path, seed: int,
    compute: Compute, listener: Listener = QUIET,
) -> Trained:  # fmt: skip
    """Train, or go on where a killed training stopped, or load what is finished.

    folder: gets training.json (settings, cases), best.safetensors, last.safetensors, metrics.csv
    and TensorBoard events; while the training runs, also Lightning's checkpoints.
    Raises RunMismatchError if the folder holds a training on other cases, labels or settings, and
    SettingsError, before anything is written, where network or method do not take the data.
    """
    identity = _identity(data, settings, seed, compute)
    described = folder / "training.json"
    if described.exists() and _with_defaults(read_json(described), settings) != identity:
        raise RunMismatchError(
            str(folder), expected="a training with these settings on these labels",
            got="another one", remedy="Delete this folder to train again, or use a new run.",
        )  # fmt: skip
    if not (folder / "last.safetensors").exists():
        task, cases = _new_task(data, settings, folder, seed, listener)
        # not before: settings that the task refuses leave nothing behind
        write_json(described, identity)
        _fit(task, cases, settings, folder, seed, compute)
    # not in _fit: a kill between the weights and this line must not leave them for ever
    _drop_checkpoints(folder)
    return load_trained(folder, compute)


def _identity(
    data: TrainingCases, settings: TrainingSettings, seed: int, compute: Compute
) -> dict[str, Any]:
    digest = hashlib.sha256()
    for maps in data.arrays():
        digest.update(np.ascontiguousarray(maps).data)
    return {
        "settings": settings.model_dump(),
        "seed": seed,
        "threads": compute.threads,
        "device": compute.device.type,
        "in_channels": data.in_channels,
        "structures": list(data.scheme.structures),
        "overlapping": data.scheme.overlapping,
        "cases": list(data.case_ids),
        "data_digest": digest.hexdigest(),
    } | data.describe()


def _precision(
    settings: TrainingSettings, compute: Compute
) -> Literal["16-mixed", "bf16-mixed", "32-true"]:
    """As Lightning calls it."""
    cuda = compute.device.type == "cuda"
    if settings.precision == "full" or (settings.precision == "auto" and not cuda):
        return "32-true"
    return "16-mixed" if cuda else "bf16-mixed"


def _with_defaults(identity: dict[str, Any], settings: TrainingSettings) -> dict[str, Any]:
    """A stored identity, with the settings that did not exist when it was stored."""
    return identity | {"settings": type(settings)().model_dump() | identity["settings"]}


def split_monitor(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train on, and indices held out to watch the training (all, if share is 0)."""
    held_out = min(math.ceil(share * count), count - 1)
    order = np.random.default_rng((seed, 7)).permutation(count).tolist()
    if held_out == 0:
        return sorted(order), sorted(order)
    return sorted(order[held_out:]), sorted(order[:held_out])


def _new_task(
    data: TrainingCases, settings: TrainingSettings, folder: Path, seed: int, listener: Listener
) -> tuple[SegmentationTask, TrainingCases]:
    """What is trained, and the cases that it is trained on.  folder: tells the listener its name.

    Raises SettingsError for a network or a method that does not take the data.
    """
    training, monitor = split_monitor(len(data.case_ids), settings.monitor_share, seed)
    cases = data.subset(training)
    epochs = epochs_of(settings, len(training))

    def tell(epoch: int, loss: float, dice: float) -> None:
        listener.epoch(TrainingProgress(folder.name, epoch, epochs, loss, dice))

    return SegmentationTask(cases, data.subset(monitor), settings, seed, tell), cases


def _fit(
    task: SegmentationTask, cases: TrainingCases, settings: TrainingSettings, folder: Path,
    seed: int, compute: Compute,
) -> None:  # fmt: skip
    torch.set_num_threads(compute.threads)
    order = SeededOrder(len(cases.case_ids), seed)
    # one case on the 1 x 1 pixel that 32 x 32 become has no variance to normalise by
    lonely = cases.way.can_be_lonely and len(order) % settings.step_size == 1 and len(order) > 1
    loader = DataLoader(
        _Indices(len(order)),
        batch_size=settings.step_size,
        sampler=order,
        drop_last=lonely,  # type: ignore[arg-type]
    )
    best = ModelCheckpoint(
        folder, "best", monitor="monitor/dice", mode="max", enable_version_counter=False
    )
    last = ModelCheckpoint(folder, "last", enable_version_counter=False)
    _quiet_lightning()
    trainer = pl.Trainer(
        accelerator=compute.device.type, devices=[compute.device.index or 0]
        if compute.device.type == "cuda" else 1,
        precision=_precision(settings, compute),
        max_epochs=epochs_of(settings, len(order)), callbacks=[best, last],
        plugins=[_AtomicCheckpoints()],
        logger=TensorBoardLogger(folder, name="", version="tensorboard"),
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1_000_000,
    )  # fmt: skip
    unfinished = folder / "last.ckpt"
    resume = unfinished if unfinished.exists() else None
    with warnings.catch_warnings():
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        _run_to_the_end(trainer, task, loader, resume)
    write_csv(folder / "metrics.csv", METRICS, task.history)
    _keep_averaged_weights(folder)


def _run_to_the_end(
    trainer: pl.Trainer, task: SegmentationTask, loader: DataLoader[int], resume: Path | None
) -> None:
    """Trainer.fit; Ctrl-C stays a KeyboardInterrupt, which Lightning turns into exit code 1."""
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(task, loader, ckpt_path=resume, weights_only=True)
    except SystemExit as stopped:
        if not isinstance(stopped.__context__, KeyboardInterrupt):
            raise
        # Lightning leaves the signal ignored: the next Ctrl-C would not be heard
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from stopped


class _AtomicCheckpoints(TorchCheckpointIO):
    """Lightning's own writer passes through the system's folder for temporary files, and copies
    where that lies on another disk: a kill in between leaves half a checkpoint."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        with atomic_file(Path(path)) as handle:
            torch.save(checkpoint, handle)


def _quiet_lightning() -> None:
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)


class _Indices(torch.utils.data.Dataset[int]):
    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> int:
        return index


def _keep_averaged_weights(folder: Path) -> None:
    """Lightning's checkpoints -> best and last .safetensors of the averaged weights.

    `last` is written at the end, since it says that the training is finished.
    """
    for name in ("best", "last"):
        checkpoint = torch.load(folder / f"{name}.ckpt", map_location="cpu", weights_only=True)
        prefix = "averaged.module."
        weights = {
            key.removeprefix(prefix): value.contiguous()
            for key, value in checkpoint["state_dict"].items()
            if key.startswith(prefix)
        }
        write_bytes_atomic(folder / f"{name}.safetensors", save(weights))


def _drop_checkpoints(folder: Path) -> None:
    for name in ("best", "last"):
        (folder / f"{name}.ckpt").unlink(missing_ok=True)
