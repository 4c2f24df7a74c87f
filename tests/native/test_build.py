"""How the kernels are compiled, and what is said where that cannot be done."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from maskmend import native
from maskmend.arrays.selection import flag_errors
from maskmend.errors import SettingsError
from maskmend.native import build

Said = list[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources, into which is built, by a compiler that saves itself trouble."""
    place = tmp_path / "native"
    place.mkdir()
    for name in native.SOURCES:
        shutil.copy(Path(native.FOLDER) / name, place / name)
    for module in (native, build):
        monkeypatch.setattr(module, "FOLDER", str(place))
    return place


def compiler(folder: Path, refused: str = "nothing") -> str:
    """A compiler for $CC that does not know an option."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    script = folder.parent / "compiler"
    script.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do\n'
        f'  [ "$word" = {refused} ] && echo "error: unknown option $word" >&2 && exit 1\n'
        "done\n"
        'exec cc "$@" -O0\n'
    )
    script.chmod(0o755)
    return str(script)


def test_it_is_compiled_once_for_the_same_sources(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler(folder))
    (folder / native.MISSING).write_text("from an earlier build")
    said: Said = []
    assert build.build("require", said.append)
    assert len(said) == 1
    assert "compiled" in said[0]
    assert not (folder / native.MISSING).exists()
    # nothing is to be done any more, whoever cannot do it
    monkeypatch.setenv("CC", "no-such-compiler")
    assert build.build("require", said.append)
    assert build.build("skip", said.append)
    assert len(said) == 1
    # a library of other sources is none
    with (folder / "job.h").open("a") as file:
        file.write("/* changed */\n")
    assert not build.build("auto", said.append)
    assert not (folder / native.LIBRARY).exists()


@pytest.mark.parametrize(("refused", "levels"), [("-mavx512f", 2), ("-mavx2", 1)])
def test_an_old_compiler_leaves_levels_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, refused: str, levels: int
) -> None:
    monkeypatch.setenv("CC", compiler(folder, refused))
    assert build.build("require", print)
    monkeypatch.setattr(native, "_library", native._library.__wrapped__)
    monkeypatch.setattr(native, "why_missing", native.why_missing.__wrapped__)
    assert native.why_missing() is None
    assert 1 <= len(native.levels()) <= levels


def no_compiler(folder: Path) -> str:
    return "no-such-compiler"


def broken_compiler(folder: Path) -> str:
    return compiler(folder, "-std=c11")


@pytest.mark.parametrize(
    ("cc", "reason"),
    [
        (no_compiler, "no C compiler (no-such-compiler) was found"),
        (broken_compiler, "failed: error: unknown option -std=c11"),
    ],
)
def test_where_it_cannot_be_compiled_the_reason_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cc: Callable[[Path], str], reason: str
) -> None:
    monkeypatch.setenv("CC", cc(folder))
    said: Said = []
    with pytest.raises(build.CannotCompileError):
        build.build("require", said.append)
    assert said == []
    assert not build.build("auto", said.append)
    assert reason in said[0]
    assert "MASKMEND_BUILD_NATIVE" in said[0]
    monkeypatch.setattr(native, "why_missing", native.why_missing.__wrapped__)
    told = native.why_missing()
    assert told is not None
    assert reason in told


def test_skipping_says_so(folder: Path) -> None:
    said: Said = []
    assert not build.build("skip", said.append)
    assert "MASKMEND_BUILD_NATIVE=skip" in (folder / native.MISSING).read_text()
    with pytest.raises(ValueError, match="MASKMEND_BUILD_NATIVE is 'maybe'"):
        build.build("maybe", said.append)


@pytest.mark.parametrize("content", [b"", b"not a library"])
def test_what_does_not_load_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (folder / native.LIBRARY).write_bytes(content)
    monkeypatch.setattr(native, "_library", native._library.__wrapped__)
    monkeypatch.setattr(native, "why_missing", native.why_missing.__wrapped__)
    assert "do not load" in str(native.why_missing())
    (folder / native.LIBRARY).unlink()
    assert "never built" in str(native.why_missing())


def test_without_them_numpy_judges_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    probs = np.array([0.1, 0.2, 0.9, 0.8, 0.7, 0.9])
    expected = flag_errors(labels, probs)
    caplog.clear()
    monkeypatch.setattr(native, "why_missing", lambda: "They went fishing.")
    native.tell_if_missing.cache_clear()
    with caplog.at_level(logging.WARNING, "maskmend"):
        assert np.array_equal(flag_errors(labels, probs), expected)
        assert np.array_equal(flag_errors(labels, probs, engine="numpy"), expected)
    assert [record.getMessage().split(".")[0] for record in caplog.records] == ["They went fishing"]
    with pytest.raises(SettingsError, match="They went fishing"):
        flag_errors(labels, probs, engine="native")
    native.tell_if_missing.cache_clear()
