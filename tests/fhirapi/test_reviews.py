"""A person's verdict over FHIR: the same DiagnosticReport in a new version, its Observations, who decided."""

import pytest

from ai.findings import Correction
from tests.ai.delivery.reports import finish, issued
from tests.ai.review.reviewing import decide, person_of

pytestmark = pytest.mark.database


def got(client, hospital, path: str) -> dict:
    answer = client.get(f"/t/{hospital.slug}/fhir/r4/{path}", headers=hospital.auth)
    assert answer.status_code == 200, answer.content
    return answer.json()


def observations(client, hospital, report: dict) -> list[dict]:
    return [got(client, hospital, one["reference"]) for one in report["result"]]


def test_accepted_corrected_rejected_and_back(client, mercy) -> None:
    """"report versions preliminary -> final / amended / cancelled in FHIR": one id, new versions, Observations along, the person named."""
    first, jane = issued(mercy), person_of(mercy)
    finish(mercy)
    path = f"DiagnosticReport/{first.uuid}"
    before = got(client, mercy, path)
    assert before["status"] == "preliminary"
    assert "resultsInterpreter" not in before

    version = decide(mercy, first, "accept", jane)
    report = got(client, mercy, path)
    assert (report["status"], int(report["meta"]["versionId"])) == ("final", int(before["meta"]["versionId"]) + 1)
    [who] = report["resultsInterpreter"]
    assert who["display"] == got(client, mercy, who["reference"])["name"][0]["text"] == "Jane Q Roe"
    assert "preliminary" not in report["conclusion"]
    found = observations(client, mercy, report)
    assert {one["status"] for one in found} == {"final"}
    assert all(one["device"] == found[0]["device"] for one in found), "the device stays the author of what was measured"

    version = decide(
        mercy, version, "correct", jane, reason="wrong-value",
        corrections=[Correction(item="measurement/0", value=5000.0), Correction(item="finding/0", words="skin fold")],
    )  # fmt: skip
    report = got(client, mercy, path)
    assert report["status"] == "amended"
    found = observations(client, mercy, report)
    changed = [one for one in found if one["status"] == "amended"]
    denied = [one for one in found if one["status"] == "entered-in-error"]
    assert (len(changed), len(denied), {one["status"] for one in found}) == (1, 1, {"amended", "entered-in-error", "final"})
    assert changed[0]["valueQuantity"]["value"] == 5000
    own = [one for one in changed[0]["component"] if one["code"]["text"] == "Value as the algorithm gave it"]
    assert own[0]["valueQuantity"]["value"] == 5373.12
    assert changed[0]["performer"][0]["reference"] == who["reference"]
    assert any("skin fold" in note["text"] for note in denied[0]["note"])
    assert "5000 mL" in report["text"]["div"]
    assert "Pneumothorax</td>" not in report["text"]["div"]

    version = decide(mercy, version, "reject", jane, reason="false-positive")
    report = got(client, mercy, path)
    assert report["status"] == "entered-in-error", "it was final once"
    assert report["conclusion"].startswith("Rejected by Jane Q Roe (what it says is not there).")
    assert "<table>" not in report["text"]["div"], "nothing that was rejected is told again"
    assert {one["status"] for one in observations(client, mercy, report)} == {"entered-in-error"}

    decide(mercy, version, "undo", jane)
    report = got(client, mercy, path)
    assert report["status"] == "amended"
    history = got(client, mercy, f"{path}/_history")
    assert [entry["resource"]["status"] for entry in history["entry"]] == [
        "amended", "entered-in-error", "amended", "final", "preliminary",
    ]  # fmt: skip
    steps = got(client, mercy, f"Provenance?target={path}&_count=50")["entry"]
    told = {entry["resource"]["activity"]["coding"][0]["code"]: entry["resource"] for entry in steps}
    assert set(told) == {"CREATE", "verify", "amend", "deprecate", "restore"}
    assert told["deprecate"]["reason"][0]["text"] == "what it says is not there"
    assert {told[one]["agent"][0]["who"]["display"] for one in ("verify", "amend", "deprecate", "restore")} == {"Jane Q Roe"}
    assert told["CREATE"]["agent"][0]["who"]["reference"].startswith("Device/")


def test_rejected_at_first_is_cancelled(client, mercy) -> None:
    """"reject -> cancelled if it was never final"."""
    first = issued(mercy)
    decide(mercy, first, "reject", person_of(mercy), reason="wrong-patient")
    report = got(client, mercy, f"DiagnosticReport/{first.uuid}")
    assert report["status"] == "cancelled"
    assert {one["status"] for one in observations(client, mercy, report)} == {"cancelled"}
    found = got(client, mercy, f"DiagnosticReport?_id={first.uuid}&status=cancelled")
    assert len(found["entry"]) == 1
