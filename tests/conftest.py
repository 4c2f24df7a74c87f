"""What all tests share: hypothesis without time limits, and the real radiographs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# a busy machine makes an example slow, never wrong
settings.register_profile("maskmend", deadline=None)
settings.load_profile("maskmend")


@pytest.fixture(scope="session")
def jsrt() -> Path:
    """The JSRT radiographs in the reference layout, beside the repository."""
    root = Path(__file__).parents[2] / "shared" / "data" / "jsrt"
    if not (root / "training" / "images").is_dir():
        pytest.skip(f"the JSRT radiographs are not at {root}")
    return root
