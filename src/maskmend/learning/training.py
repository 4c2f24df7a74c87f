"""Train one network with Lightning: resumable, seeded, with averaged weights."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import signal
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from maskmend.arrays.agreement import believed_masks, mask_agreement, predicted_labels
from maskmend.core import IGNORED, QUIET, FloatArray, LabelScheme, Listener, TrainingProgress
from maskmend.errors import (
    MissingFileError,
    RunMismatchError,
    SettingsError,
    UnreadableFileError,
)
from maskmend.files import atomic_file, read_json, write_bytes_atomic, write_csv, write_json
from maskmend.learning.batches import (
    SeededOrder,
    TrainingData,
    augment,
    mean_of_known,
    prepare_image,
    resize,
)
from maskmend.learning.losses import (
    channel_shares,
    plane_weights,
    soft_cross_entropy,
    weighted_mean,
)
from maskmend.learning.networks import build_network
from maskmend.settings import TrainingSettings

WARM_UP_STEPS = 20
METRICS = ("epoch", "loss", "monitor_dice", "kept")


@dataclass(frozen=True)
class Compute:
    """Where a training runs.  threads: of the CPU; results depend on it in the last bits."""

    device: torch.device
    threads: int


class SegmentationTask(pl.LightningModule):
    """One network, its averaged twin, and the loss; the training data is held, not loaded.

    Batches are indices into `data`; augmentation draws from (seed, step) alone, and masks are
    selected at the start of an epoch from the averaged weights alone, so that a resumed training
    repeats what an unbroken one does.
    """

    kept: Tensor

    def __init__(
        self, data: TrainingData, monitor: TrainingData, settings: TrainingSettings, seed: int,
        listener: Callable[[int, float, float], None],
    ) -> None:  # fmt: skip
        """listener: called after each epoch with its number from 1, loss and monitor Dice."""
        super().__init__()
        self._listener = listener
        self._data, self._monitor, self._settings, self._seed = data, monitor, settings, seed
        channels = data.images.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_network(settings.network, channels, data.scheme.num_channels)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        shares = channel_shares(data.targets, data.taking_part)
        self._start_at(shares)
        decay = settings.averaging
        self.averaged = AveragedModel(
            self.network, multi_avg_fn=lambda *values: _average(*values, decay=decay),
            use_buffers=True,
        )  # fmt: skip
        self.averaged.requires_grad_(False)
        self._weights = plane_weights(shares, data.scheme.overlapping)
        kept = torch.ones(len(data.case_ids), len(data.scheme.planes), dtype=torch.bool)
        self.register_buffer("kept", kept)
        self._losses: list[Tensor] = []
        self.history: list[list[float]] = []

    def _start_at(self, shares: Tensor) -> None:
        """Set the output bias to the share of each class, so that no step is lost to learn it."""
        prior = shares.clamp(1e-4, 1 - 1e-4)
        logits = torch.logit(prior) if self._data.scheme.overlapping else prior.log()
        bias = self.network.last.bias  # type: ignore[union-attr]
        with torch.no_grad():
            bias.copy_(logits.repeat_interleave(len(bias) // len(logits)))  # type: ignore[operator, arg-type]

    def configure_optimizers(self) -> Any:
        settings = self._settings
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate,
            weight_decay=settings.weight_decay, fused=True,
        )  # fmt: skip
        count = len(self._data.case_ids)
        total = epochs_of(settings, count) * math.ceil(count / settings.batch_size)

        def rate(step: int) -> float:
            warm = min(1.0, (step + 1) / WARM_UP_STEPS)
            if settings.schedule == "constant":
                return warm
            return warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, step / total)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_train_epoch_start(self) -> None:
        self._losses = []
        share, epochs = self._settings.select_after, epochs_of(self._settings, len(self.kept))
        start = math.ceil(share * epochs)
        if start and self.current_epoch >= start and (self.current_epoch - start) % 2 == 0:
            self._select_masks()

    def _select_masks(self) -> None:
        agreement = agreement_with(self.averaged, self._data)
        believed = torch.from_numpy(believed_masks(agreement, self._settings.doubt_ratio))
        self.kept.copy_(believed)

    def _taking_part(self, chosen: Tensor) -> Tensor:
        """What trains: pixels that are not ignored, of masks that are believed."""
        return self._data.taking_part[chosen] * self.kept[chosen].cpu()[:, :, None, None]

    def training_step(self, indices: Tensor, _: int) -> Tensor:
        chosen = indices.cpu()
        data = self._data
        part = self._taking_part(chosen)
        # interpolated together, or an ignored pixel would colour its neighbours
        maps = torch.cat([data.images[chosen], data.targets[chosen] * part, part], dim=1)
        counts = [data.images.shape[1], data.targets.shape[1], data.taking_part.shape[1]]
        if self._settings.augment:
            generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self.global_step)
            maps = augment(maps, counts[0], generator)
        images, known, taking_part = maps.to(self.device).split(counts, dim=1)
        targets = mean_of_known(known, taking_part)
        logits = self.network(images.to(memory_format=torch.channels_last))
        pixels = soft_cross_entropy(logits.float(), targets, data.scheme.overlapping)
        loss = weighted_mean(pixels, taking_part, self._weights.to(self.device))
        self._losses.append(loss.detach())
        self.log("train/loss", loss, on_epoch=True, on_step=False, batch_size=len(chosen))
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        self.averaged.update_parameters(self.network)

    def on_train_epoch_end(self) -> None:
        dice = float(np.nanmean(agreement_with(self.averaged, self._monitor)))
        self.log("monitor/dice", dice)
        self.log("train/kept", self.kept.float().mean())
        loss = float(torch.stack(self._losses).mean())
        kept = float(self.kept.float().mean())
        self.history.append([self.current_epoch + 1, loss, dice, kept])
        self._listener(self.current_epoch + 1, loss, dice)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]


def _average(means: list[Tensor], news: list[Tensor], count: Tensor | int, *, decay: float) -> None:
    if not means[0].is_floating_point():
        # the number of batches that a normalisation has seen
        torch._foreach_copy_(means, news)
        return
    # the decay grows with the steps taken: the first random weights are forgotten at once
    steps = float(count)
    torch._foreach_lerp_(means, news, 1 - min(decay, (1 + steps) / (10 + steps)))


def agreement_with(network: nn.Module, data: TrainingData) -> FloatArray:
    """Dice between targets and predictions of each mask, (N, planes), on the network's grid."""
    scheme = data.scheme
    predicted = predict_prepared(network, data.images, scheme).numpy()
    rows = []
    for target, part, probs in zip(
        data.targets.numpy(), data.taking_part.numpy(), predicted, strict=True
    ):
        given = np.where(part > 0.5, predicted_labels(target, scheme), IGNORED).astype(np.uint8)
        rows.append(mask_agreement(given, predicted_labels(probs, scheme), scheme))
    return np.stack(rows)


@torch.no_grad()
def predict_prepared(network: nn.Module, images: Tensor, scheme: LabelScheme) -> Tensor:
    """Probabilities (N, channels, H, W) float32 on the CPU, of prepared images (N, C, H, W)."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    maps = [_probabilities(network(batch.to(device)), scheme).cpu() for batch in images.split(16)]
    network.train(was_training)
    return torch.cat(maps)


def _probabilities(logits: Tensor, scheme: LabelScheme) -> Tensor:
    return logits.float().sigmoid() if scheme.overlapping else logits.float().softmax(dim=1)


@dataclass(frozen=True)
class Trained:
    """A finished network and what it needs to predict."""

    network: nn.Module
    size: int
    scheme: LabelScheme


@torch.no_grad()
def predict_case(trained: Trained, image: NDArray[np.generic]) -> FloatArray:
    """Probabilities (channels, *S) float32 of one image (C, *S) of any size.

    Logits, not probabilities, are enlarged to the case's grid: the boundary stays as sharp as
    the network meant it.
    """
    prepared = prepare_image(image, trained.size)
    device = next(trained.network.parameters()).device
    logits = trained.network(prepared[None].to(device)).float()
    height, width = image.shape[1:]
    enlarged = resize(logits, (height, width))
    probs: FloatArray = _probabilities(enlarged, trained.scheme)[0].cpu().numpy()
    return probs


def train_network(
    data: TrainingData, settings: TrainingSettings, folder: Path, seed: int,
    compute: Compute, listener: Listener = QUIET,
) -> Trained:  # fmt: skip
    """Train, or go on where a killed training stopped, or load what is finished.

    folder: gets training.json (settings, cases), best.safetensors, last.safetensors, metrics.csv
    and TensorBoard events; while the training runs, also Lightning's checkpoints.
    Raises RunMismatchError if the folder holds a training on other cases, labels or settings.
    """
    identity = _identity(data, settings, seed, compute)
    described = folder / "training.json"
    if described.exists() and read_json(described) != identity:
        raise RunMismatchError(
            str(folder), expected="a training with these settings on these labels",
            got="another one", remedy="Delete this folder to train again, or use a new run.",
        )  # fmt: skip
    if not (folder / "last.safetensors").exists():
        write_json(described, identity)
        _fit(data, settings, folder, seed, compute, listener)
    # not in _fit: a kill between the weights and this line must not leave them for ever
    _drop_checkpoints(folder)
    return load_trained(folder, compute)


def _identity(
    data: TrainingData, settings: TrainingSettings, seed: int, compute: Compute
) -> dict[str, Any]:
    digest = hashlib.sha256()
    for maps in (data.images, data.targets, data.taking_part):
        digest.update(maps.numpy().tobytes())
    return {
        "settings": settings.model_dump(),
        "seed": seed,
        "threads": compute.threads,
        "device": compute.device.type,
        "in_channels": data.images.shape[1],
        "structures": list(data.scheme.structures),
        "overlapping": data.scheme.overlapping,
        "cases": list(data.case_ids),
        "data_digest": digest.hexdigest(),
    }


def epochs_of(settings: TrainingSettings, count: int) -> int:
    """Passes over `count` cases: settings.epochs, or as many more as make least_steps steps."""
    steps = math.ceil(count / settings.batch_size)
    return max(settings.epochs, math.ceil(settings.least_steps / steps))


def split_monitor(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train on, and indices held out to watch the training (all, if share is 0)."""
    held_out = min(math.ceil(share * count), count - 1)
    order = np.random.default_rng((seed, 7)).permutation(count).tolist()
    if held_out == 0:
        return sorted(order), sorted(order)
    return sorted(order[held_out:]), sorted(order[:held_out])


def _fit(
    data: TrainingData, settings: TrainingSettings, folder: Path, seed: int,
    compute: Compute, listener: Listener,
) -> None:  # fmt: skip
    training, monitor = split_monitor(len(data.case_ids), settings.monitor_share, seed)
    train_data = data.subset(training)
    epochs = epochs_of(settings, len(training))

    def tell(epoch: int, loss: float, dice: float) -> None:
        listener.epoch(TrainingProgress(folder.name, epoch, epochs, loss, dice))

    task = SegmentationTask(train_data, data.subset(monitor), settings, seed, tell)
    torch.set_num_threads(compute.threads)
    order = SeededOrder(len(train_data.case_ids), seed)
    # one case on the 1 x 1 pixel that 32 x 32 become has no variance to normalise by
    lonely = settings.size == 32 and len(order) % settings.batch_size == 1 and len(order) > 1
    loader = DataLoader(
        _Indices(len(order)),
        batch_size=settings.batch_size,
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
        precision="16-mixed" if compute.device.type == "cuda" else "32-true",
        max_epochs=epochs, callbacks=[best, last], plugins=[_AtomicCheckpoints()],
        logger=TensorBoardLogger(folder, name="", version="tensorboard"),
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1_000_000,
    )  # fmt: skip
    unfinished = folder / "last.ckpt"
    resume = unfinished if unfinished.exists() else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
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


def load_trained(folder: Path, compute: Compute, weights: str | None = None) -> Trained:
    """A finished training.  weights: "best" or "last"; by default what its settings say.

    Raises MissingFileError if nothing is finished there, UnreadableFileError for broken weights.
    """
    identity = read_json(folder / "training.json")
    settings = TrainingSettings.model_validate(identity["settings"])
    scheme = LabelScheme(tuple(identity["structures"]), identity["overlapping"])
    network = build_network(settings.network, identity["in_channels"], scheme.num_channels)
    path = folder / f"{weights or settings.weights}.safetensors"
    if not path.exists():
        raise MissingFileError(
            str(path), expected="the weights of a finished training", got="none",
            remedy="Run the same command again: it goes on where it stopped.",
        )  # fmt: skip
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise UnreadableFileError(
            str(path), expected=f"weights of the {settings.network} network", got=str(error),
            remedy="Delete the folder of this training and run again.",
        ) from error  # fmt: skip
    placed: nn.Module = network.to(compute.device)
    return Trained(placed.eval(), settings.size, scheme)


def choose_compute(device: str, threads: int) -> Compute:
    """device: "auto" (CUDA, else MPS, else CPU) or torch's name.  threads: 0 for all cores.

    Raises SettingsError for a device that is not there.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = threads or cores or 1
    if device != "auto":
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise SettingsError(
                "device", expected="auto, cpu, cuda, cuda:N or mps, present on this machine",
                got=device, remedy=f"Use --device auto ({str(error).splitlines()[0]}).",
            ) from error  # fmt: skip
        return Compute(torch.device(device), count)
    if torch.cuda.is_available():
        return Compute(torch.device("cuda", 0), count)
    return Compute(torch.device("mps" if torch.backends.mps.is_available() else "cpu"), count)
