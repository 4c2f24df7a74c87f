"""Where a network runs: device and threads."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from maskmend.errors import SettingsError


@dataclass(frozen=True)
class Compute:
    """Where a training runs.  threads: of the CPU; results depend on it in the last bits."""

    device: torch.device
    threads: int


DEVICES = ("cpu", "cuda", "mps")


def choose_compute(device: str, threads: int) -> Compute:
    """device: "auto" (CUDA, else MPS, else CPU), cpu, cuda, cuda:N or mps.  threads: 0 for all.

    From here on torch uses so many threads: what is prepared for a network, and what it predicts,
    depends on their number in the last bits as a training does.

    Raises SettingsError for a device that is not there.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = threads or cores or 1
    torch.set_num_threads(count)
    if device != "auto":
        return Compute(_present(device), count)
    if torch.cuda.is_available():
        return Compute(torch.device("cuda", 0), count)
    return Compute(torch.device("mps" if torch.backends.mps.is_available() else "cpu"), count)


def _present(name: str) -> torch.device:
    try:
        device = torch.device(name)
        if device.type not in DEVICES:
            raise RuntimeError(f"{device.type} cannot train")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            "device", expected="auto, cpu, cuda, cuda:N or mps, present on this machine",
            got=name, remedy=f"Use --device auto ({str(error).splitlines()[0]}).",
        ) from error  # fmt: skip
    return device
