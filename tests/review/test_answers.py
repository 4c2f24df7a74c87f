"""What a reviewer can say through the server, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from maskmend.core import Finding
from maskmend.review.pixels import digest
from maskmend.store import Run

from .test_server import labels_of

Made = tuple[Run, tuple[Finding, ...]]
Start = Callable[..., TestClient]


def post(client: TestClient, path: str, **body: Any) -> Any:
    answer = client.post(f"/api/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def say(client: TestClient, finding: Finding | None, verdict: str, **more: Any) -> Any:
    review = client.app_state["review"]
    case = more.pop("case", None if finding is None else review.case_index[finding.case])
    body = {"finding": finding.id if finding else None, "case": case, "verdict": verdict,
            "reviewer": "ann", **more}  # fmt: skip
    return post(client, "decisions", **body)


@pytest.fixture
def client(started: Start, pictures: Made) -> TestClient:
    return started(pictures)


def test_a_decision_comes_back_and_is_stored(client: TestClient, pictures: Made) -> None:
    run, findings = pictures
    answer = say(client, findings[0], "accept", comment="<b>yes</b>")
    item = answer["finding"]
    assert answer["decision"] == 1
    assert (item["state"], item["comments"]) == ("accept", 1)
    assert [(by["reviewer"], by["verdict"]) for by in item["by"]] == [("ann", "accept")]
    assert answer["progress"]["decided"] == 1
    detail = client.get(f"/api/findings/{findings[0].id}")
    assert b"<" not in detail.content
    (said,) = detail.json()["comments"]
    assert (said["comment"], said["whole_case"]) == ("<b>yes</b>", False)
    (kept,) = client.app_state["review"].state.decisions.after(0)
    case = run.cases[1]
    assert kept.decision.before == digest(run.read_given(case)[0])
    # the bar is missing as a whole, and is all that is wrong with this case
    assert kept.decision.after == digest(run.read_mended(case)[0])


@pytest.mark.parametrize("verdict", ["reject", "unsure"])
def test_what_stays_has_no_digest_after(client: TestClient, pictures: Made, verdict: str) -> None:
    assert say(client, pictures[1][0], verdict)["finding"]["state"] == verdict
    (kept,) = client.app_state["review"].state.decisions.after(0)
    assert kept.decision.before is not None
    assert kept.decision.after is None


def test_labels_as_decided(client: TestClient, pictures: Made) -> None:
    run, findings = pictures
    hole, blob = (next(f for f in findings if f.case == "film-0" and f.type == kind)
                  for kind in ("missing", "extra"))  # fmt: skip
    given, mended = (read(run.cases[0]) for read in (run.read_given, run.read_mended))
    say(client, hole, "accept")
    say(client, blob, "reject")
    expected = given.copy()
    box: Any = (1, *(slice(*ends) for ends in hole.box))
    expected[box] = mended[box]
    assert (expected != given).sum() == hole.pixels == 36
    np.testing.assert_array_equal(labels_of(client, 0)["decided"], expected)
    np.testing.assert_array_equal(labels_of(client, 0, "decided=0")["decided"], given)
    width = given.shape[2]
    say(client, blob, "edit", runs=[[3 * width + 1, 4, 1], [2 * width + 46, 6, 0]])
    expected[1, 3, 1:5] = 1
    expected[1, 2, 46:52] = 0
    np.testing.assert_array_equal(labels_of(client, 0)["decided"], expected)
    post(client, "undo", reviewer="ann")
    post(client, "undo", reviewer="ann")
    post(client, "undo", reviewer="ann")
    np.testing.assert_array_equal(labels_of(client, 0)["decided"], given)


def test_a_whole_case_and_its_undo(client: TestClient, pictures: Made) -> None:
    run, _ = pictures
    answer = say(client, None, "accept", case=0)
    assert [item["state"] for item in answer["findings"]] == ["accept", "accept"]
    np.testing.assert_array_equal(labels_of(client, 0)["decided"], run.read_mended(run.cases[0]))
    (kept,) = client.app_state["review"].state.decisions.after(0)
    assert kept.decision.after == digest(run.read_mended(run.cases[0]))
    undone = post(client, "undo", reviewer="ann")
    assert (undone["undone"], undone["count"]) == (1, 1)
    assert [item["state"] for item in undone["findings"]] == ["open", "open"]
    assert post(client, "undo", reviewer="ann")["undone"] is None


def test_bulk_takes_what_is_open_and_fits(client: TestClient, pictures: Made) -> None:
    _, findings = pictures
    say(client, findings[0], "reject")
    wanted = {"filter": {"type": "missing", "state": "open"}, "verdict": "accept",
              "reviewer": "bob"}  # fmt: skip
    assert post(client, "bulk", **wanted, dry_run=True)["count"] == 1
    assert client.get("/api/queue?state=open").json()["total"] == 2
    assert post(client, "bulk", **wanted, dry_run=False)["count"] == 1
    assert post(client, "bulk", **wanted, dry_run=False)["count"] == 0
    assert client.get("/api/queue?state=accept").json()["total"] == 1
    high = {"filter": {"min_score": 1e9}, "verdict": "accept", "reviewer": "bob"}
    assert post(client, "bulk", **high, dry_run=True)["count"] == 0
    undone = post(client, "undo", reviewer="bob")
    assert (undone["count"], undone["finding"]["state"]) == (1, "open")


def test_two_servers_show_each_others_decisions(started: Start, pictures: Made) -> None:
    one, other = started(pictures), started(pictures)
    start = other.get("/api/changes?after=9007199254740991").json()
    assert start == {"last": 0, "decisions": []}
    say(one, pictures[1][0], "accept")
    say(one, None, "reject", case=0)
    seen = other.get("/api/changes?after=0").json()
    assert seen["last"] == 2
    assert seen["decisions"][0] == {
        "number": 1, "finding": pictures[1][0].id, "case_index": 1, "reviewer": "ann",
        "verdict": "accept", "state": "accept",
    }  # fmt: skip
    assert (seen["decisions"][1]["finding"], seen["decisions"][1]["case_index"]) == (None, 0)
    say(other, pictures[1][0], "reject", reviewer="bob")
    assert one.get("/api/queue?state=conflict").json()["total"] == 1
    assert one.get("/api/changes?after=2").json()["decisions"][0]["state"] == "conflict"


def test_an_edit_in_a_volume(started: Start, volumes: Made) -> None:
    client, (run, findings) = started(volumes), volumes
    finding = next(f for f in findings if f.case == "scan_1")
    given = run.read_given(run.cases[1])
    start = int(np.ravel_multi_index((2, 5, 6), given.shape[1:]))
    say(client, finding, "edit", runs=[[start, 6, 1]])
    expected = np.array(given)
    expected[0, 2, 5, 6:12] = 1
    for axis, k in ((0, 2), (1, 5), (2, 7)):
        shown = labels_of(client, 1, f"axis={axis}&slice={k}&decided=1")["decided"]
        np.testing.assert_array_equal(shown, np.take(expected, k, axis=axis + 1))
