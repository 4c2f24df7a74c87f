"""Devices: by name, found, and refused."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from maskmend.errors import SettingsError
from maskmend.learning.compute import Compute, choose_compute


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class TestChooseCompute:
    def test_a_device_by_name(self) -> None:
        assert choose_compute("cpu", 3) == Compute(torch.device("cpu"), 3)
        assert torch.get_num_threads() == 3

    def test_auto_takes_all_cores(self) -> None:
        assert choose_compute("auto", 0).threads == len(os.sched_getaffinity(0))
        assert choose_compute("auto", 1).threads == 1

    @pytest.mark.parametrize("present", [False, True])
    def test_auto_takes_cuda_where_there_is_one(
        self, monkeypatch: pytest.MonkeyPatch, present: bool
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: present)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        assert choose_compute("auto", 1).device.type == ("cuda" if present else "cpu")

    @pytest.mark.parametrize("device", ["gpu", "cuda:99", "", "cpu and more", "meta"])
    def test_a_device_that_is_not_there(self, device: str) -> None:
        with pytest.raises(SettingsError, match="device: expected auto, cpu, cuda") as caught:
            choose_compute(device, 1)
        assert caught.value.got == device
