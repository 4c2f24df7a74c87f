"""What the page gets: the run, the queue, pictures and labels; checked against the arrays."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from maskmend.core import Finding
from maskmend.datasets import read_image
from maskmend.store import Run

from .conftest import AFFINE, PICTURE, VOLUME

Made = tuple[Run, tuple[Finding, ...]]
Start = Callable[..., TestClient]


def labels_of(client: TestClient, index: int, query: str = "") -> dict[str, NDArray[Any]]:
    """given, suggested, decided, number: (planes, height, width), as the page unpacks them."""
    answer = client.get(f"/api/cases/{index}/labels?{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-encoding"] == "gzip"
    data = answer.content
    planes, height, width = np.frombuffer(data[:12], "<u4")
    size, at = int(height * width), 12
    parts: dict[str, list[NDArray[Any]]] = {}
    for _ in range(planes):
        for name, dtype in (
            ("given", "u1"), ("suggested", "u1"), ("decided", "u1"), ("number", "<u2"),
        ):  # fmt: skip
            end = at + size * np.dtype(dtype).itemsize
            parts.setdefault(name, []).append(
                np.frombuffer(data[at:end], dtype).reshape(height, width)
            )
            at = end
    assert at == len(data)
    return {name: np.stack(each) for name, each in parts.items()}


def test_the_run(started: Start, pictures: Made, volumes: Made) -> None:
    run = started(pictures).get("/api/run").json()
    assert run["overlapping"] is True
    assert run["structures"] == ["bar", "disc"]
    assert run["planes"] == [
        {"name": "bar", "classes": ["background", "bar"]},
        {"name": "disc", "classes": ["background", "disc"]},
    ]
    assert (run["cases"], run["findings"], run["types"]) == (6, 3, ["extra", "missing"])
    assert run["view3d"] is False
    assert "Node" in run["view3d_reason"]
    assert run["colours"]["bar"].startswith("#")
    other = started(volumes).get("/api/run").json()
    assert other["planes"] == [{"name": "labels", "classes": ["background", "1", "2"]}] or (
        len(other["planes"][0]["classes"]) == 3
    )


def test_a_picture_and_its_window(started: Start, pictures: Made) -> None:
    client = started(pictures)
    case = client.get("/api/cases/0").json()
    image = read_image(pictures[0].cases[0])[0].astype(float)
    window = case["window"]
    assert (window["min"], window["max"]) == (image.min(), image.max())
    low, high = np.percentile(image, [1, 99])
    assert (window["low"], window["high"]) == (low, high)
    answer = client.get("/api/cases/0/image?axis=0&slice=0")
    assert answer.headers["content-type"] == "image/png"
    shown = np.array(Image.open(io.BytesIO(answer.content)))
    expected = np.clip(np.rint((image - low) * 255 / (high - low)), 0, 255)
    assert shown.shape == PICTURE
    assert np.abs(shown - expected).max() <= 1
    dark = client.get("/api/cases/0/image?axis=0&slice=0&low=1000&high=2000").content
    assert np.array(Image.open(io.BytesIO(dark))).max() == 0


@pytest.mark.parametrize(("axis", "k"), [(0, 2), (1, 7), (2, 11)])
def test_the_planes_of_a_volume(started: Start, volumes: Made, axis: int, k: int) -> None:
    client, (run, findings) = started(volumes), volumes
    for index, case in enumerate(run.cases):
        image = np.take(read_image(case)[0], k, axis=axis).astype(float)
        answer = client.get(f"/api/cases/{index}/image?axis={axis}&slice={k}&low=-0.5&high=400")
        shown = np.array(Image.open(io.BytesIO(answer.content)))
        expected = np.clip(np.rint((image + 0.5) * 255 / 400.5), 0, 255)
        assert np.abs(shown - expected).max() <= 1
        labels = labels_of(client, index, f"axis={axis}&slice={k}&decided=1")
        given, mended = run.read_given(case), run.read_mended(case)
        for name, array in (("given", given), ("decided", given), ("suggested", mended)):
            np.testing.assert_array_equal(labels[name], np.take(array, k, axis=axis + 1))
        numbers = np.zeros(given.shape, int)
        masks = run.read_finding_masks(case)
        for finding in findings:
            if finding.case == case.id:
                box = tuple(slice(*ends) for ends in finding.box)
                numbers[finding.plane][box][masks[finding.number]] = finding.number
        np.testing.assert_array_equal(labels["number"], np.take(numbers, k, axis=axis + 1))


def test_a_volume_says_how_it_lies(started: Start, volumes: Made) -> None:
    case = started(volumes).get("/api/cases/0").json()
    assert (case["shape"], case["spacing"], case["unit"]) == (list(VOLUME), [3.0, 0.5, 0.5], "mm")
    assert (case["volume"], case["rgb"], case["channels"]) == (True, False, 1)
    assert case["directions"] == ["S", "P", "L"]


@pytest.mark.parametrize("kind", ["image", "given", "suggested", "decided"])
def test_a_volume_for_the_3d_view_has_no_name(started: Start, volumes: Made, kind: str) -> None:
    run, _ = volumes
    answer = started(volumes).get(f"/api/cases/0/volume/{kind}.nii.gz?plane=0")
    data = gzip.decompress(answer.content)
    image = nib.Nifti1Image.from_bytes(data)
    np.testing.assert_allclose(image.affine, AFFINE)
    case = run.cases[0]
    expected = {
        "image": read_image(case)[0], "given": run.read_given(case)[0],
        "decided": run.read_given(case)[0], "suggested": run.read_mended(case)[0],
    }[kind]  # fmt: skip
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, expected)
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        assert image.header[field].item() == b""
    assert b"scan_0" not in data


def test_the_queue_filters_and_pages(started: Start, pictures: Made) -> None:
    client, (_, findings) = started(pictures), pictures
    whole = client.get("/api/queue").json()
    assert whole["total"] == len(findings) == 3
    assert [item["id"] for item in whole["items"]] == [finding.id for finding in findings]
    assert [item["rank"] for item in whole["items"]] == [1, 2, 3]
    first = whole["items"][0]
    assert first["distance"] is None
    assert first["state"] == "open"
    assert first["case_index"] == 1
    page = client.get("/api/queue?offset=1&limit=1").json()
    assert (page["total"], [item["rank"] for item in page["items"]]) == (3, [2])
    counts = {
        "type=missing": 2, "type=extra": 1, "structure=bar": 1, "state=open": 3, "state=accept": 0,
        "case=0": 2, "q=FILM-1": 1, "q=nobody": 0, "type=missing&structure=disc": 1,
    }  # fmt: skip
    for query, total in counts.items():
        assert client.get(f"/api/queue?{query}").json()["total"] == total, query
    by_size = client.get("/api/queue?order=size").json()["items"]
    sizes = [item["size"] for item in by_size]
    assert sizes == sorted(sizes, reverse=True)


def test_kept_pictures_are_bound_to_the_session(started: Start, pictures: Made) -> None:
    client = started(pictures)
    for path in ("image", "labels?decided=0"):
        headers = client.get(f"/api/cases/0/{path}").headers
        assert headers["cache-control"] == "private, max-age=3600"
        assert headers["vary"] == "Cookie"
    for path in ("cases/0/labels?decided=1", "queue", "run", "progress", "changes"):
        assert client.get(f"/api/{path}").headers["cache-control"] == "no-store"
