"""Kick-off, status, manifest and files over HTTP, and what each level holds."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from fhirapi.bulk.files import export_folder
from fhirapi.store import instant
from journal.models import AuditEvent
from tests.conftest import Hospital
from tests.fhirapi.bulk.conftest import ASYNC, NAMES, Exporter, assert_refused, filled
from tests.fhirapi.writing import patient

ORG = ["Organization/org"]


def test_the_async_pattern(stored: Exporter) -> None:
    """ "202 with Content-Location; status: 202 with `X-Progress` and Retry-After, 200 with the manifest"."""
    before = timezone.now() - timedelta(milliseconds=1)
    kicked = stored.kick("_type=Patient")
    assert kicked.status_code == 202
    assert kicked.json()["resourceType"] == "OperationOutcome"
    status = kicked["Content-Location"]
    waiting = stored.get(status)
    assert (waiting.status_code, waiting.content) == (202, b"")
    assert (waiting["X-Progress"], waiting["Retry-After"]) == ("0 of 1 types, 0 resources", "5")
    stored.run(status)
    answer = stored.get(status, accept="application/json")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    assert answer["Expires"].endswith("GMT")
    found = answer.json()
    assert instant(before) <= found["transactionTime"] <= instant(timezone.now())
    assert found["request"] == f"{stored.base}/$export?_type=Patient"
    assert found["requiresAccessToken"] is True
    assert found["output"] == [{"type": "Patient", "url": f"{status}/Patient-1.ndjson", "count": 2}]
    assert (found["deleted"], found["error"]) == ([], [])


def test_files_are_the_stored_texts(stored: Exporter) -> None:
    """ "files at `[base]/bulk/<job>/<file>.ndjson` ..., gzip by Accept-Encoding, streamed, no-store"."""
    url = stored.exported("_type=Observation")["output"][0]["url"]
    plain = stored.get(url)
    assert plain.streaming
    assert plain["Content-Type"] == "application/fhir+ndjson"
    assert "no-store" in plain["Cache-Control"]
    assert "Accept-Encoding" in plain["Vary"]
    text = b"".join(plain.streaming_content)
    lines = text.splitlines()
    assert sorted(lines) == sorted(stored.get(f"Observation/{json.loads(line)['id']}").content for line in lines)
    assert stored.get(url, **{"accept-encoding": "gzip"})["Content-Encoding"] == "gzip"
    assert stored.lines(url, **{"accept-encoding": "gzip"}) == stored.lines(url, accept="application/fhir+ndjson")
    head = stored.client.head(url.removeprefix("http://testserver"), headers=stored.hospital.auth)
    assert (head.status_code, head["Content-Length"]) == (200, str(len(text)))


def test_system(stored: Exporter) -> None:
    """ "kick-off `GET|POST [base]/$export`": every type, each resource once."""
    found = stored.exported()
    assert stored.names(found) == NAMES
    assert [one["type"] for one in found["output"]] == ["Patient", "Observation", "Device", "Organization", "Group"]


def test_all_patients(stored: Exporter) -> None:
    """ "`[base]/Patient/$export`": what belongs to patients, and what names nobody."""
    assert stored.names(stored.exported(place="Patient/$export")) == [name for name in NAMES if name != "Observation/od"]


def test_a_group(stored: Exporter) -> None:
    """ "`[base]/Group/<id>/$export`": its active members' compartments, and nobody else's device."""
    found = stored.names(stored.exported(place="Group/g1/$export"))
    assert found == ["Device/d1", "Group/g1", "Observation/o1a", "Observation/o1b", *ORG, "Patient/p1"]
    assert_refused(stored.kick(place="Group/none/$export"), 404, "not-found")
    empty = stored.made({"resourceType": "Group", "type": "person", "actual": True})["id"]
    assert stored.names(stored.exported("_type=Patient,Observation,Device", place=f"Group/{empty}/$export")) == ["Device/d1"]
    assert stored.delete(f"Group/{empty}").status_code == 204


def test_named_patients(stored: Exporter) -> None:
    """`patient` (STU2 2.5.1.1) by POST, within the Group where there is one."""
    one, types = {"reference": "Patient/p2"}, "Patient,Observation"
    parameters = [{"name": "patient", "valueReference": one}, {"name": "_type", "valueString": types}]
    body = {"resourceType": "Parameters", "parameter": parameters}
    kicked = stored.post("Patient/$export", body, **ASYNC)
    assert kicked.status_code == 202, kicked.content
    stored.run(kicked["Content-Location"])
    assert stored.names(stored.manifest(kicked["Content-Location"])) == ["Observation/o2a", "Observation/o2b", "Patient/p2"]
    assert_refused(stored.post("Group/g1/$export", body, **ASYNC), 400, "value")
    assert_refused(stored.post("$export", body, **ASYNC), 400, "not-supported")


def test_type_filters(stored: Exporter) -> None:
    """ "`_typeFilter` (a search query of that type, compiled by the existing search)": or among those of a type, and only of it."""
    both = "_type=Observation,Patient&_typeFilter=Observation%3Fstatus%3Dpreliminary&_typeFilter=Observation%3Fpatient%3Dp1"
    expected = ["Observation/o1a", "Observation/o1b", "Observation/od", "Patient/p1", "Patient/p2"]
    assert stored.names(stored.exported(both)) == expected
    joined = "_type=Observation&_typeFilter=Observation%3F_id%3Dod,o1a,Observation%3Fpatient.gender%3Dmale"
    assert stored.names(stored.exported(joined)) == ["Observation/o1a", "Observation/o2a", "Observation/o2b", "Observation/od"]
    group = stored.exported("_typeFilter=Observation%3F_id%3Do1a,o2a&_type=Observation", place="Group/g1/$export")
    assert stored.names(group) == ["Observation/o1a"]


@pytest.mark.parametrize(
    ("query", "place", "code", "named"),
    [
        ("_outputFormat=csv", "$export", "not-supported", "_outputFormat"),
        ("_since=yesterday", "$export", "value", "_since"),
        ("_since=2026-01-01&_since=2026-01-02", "$export", "value", "_since"),
        ("_type=Appointment", "$export", "not-supported", "_type"),
        ("_type=Binary", "Patient/$export", "not-supported", "_type"),
        ("_typeFilter=Patient", "$export", "value", "_typeFilter"),
        ("_type=Group&_typeFilter=Patient%3Fgender%3Dmale", "$export", "value", "_typeFilter"),
        ("_typeFilter=Patient%3Fnone%3Dx", "$export", "not-supported", "_typeFilter"),
        ("_typeFilter=Patient%3F_sort%3Dname", "$export", "not-supported", "_typeFilter"),
        ("_typeFilter=Patient%3F_has:AuditEvent:patient:action%3DR", "$export", None, "_typeFilter"),
        ("patient=p1", "Patient/$export", "value", "patient"),
        ("_elements=id", "$export", "not-supported", "_elements"),
        ("includeAssociatedData=LatestProvenanceResources", "$export", "not-supported", "includeAssociatedData"),
    ],
)
def test_refusals(stored: Exporter, query: str, place: str, code: str | None, named: str) -> None:
    """ "kick-off parameters validated (400 OperationOutcome naming the parameter ...)"."""
    refused = stored.kick(query, place=place)
    assert refused.status_code == (400 if code else 403), refused.content
    assert named in refused.json()["issue"][0]["diagnostics"]
    if code:
        assert_refused(refused, 400, code)


def test_lenient(stored: Exporter) -> None:
    """ "`Prefer: handling=lenient` ignores unknown ones"; without `respond-async` there is no export at all."""
    lenient = stored.kick("_elements=id&_type=Patient,Appointment", prefer="respond-async, handling=lenient")
    assert lenient.status_code == 202
    assert stored.row(lenient["Content-Location"]).rtypes == ["Patient"]
    assert_refused(stored.get("$export"), 400, "required")
    assert_refused(stored.kick("_since=x", prefer="respond-async, handling=lenient"), 400, "value")
    for name in ("application/fhir+ndjson", "application/fhir%2Bndjson", "application/ndjson", "ndjson"):
        assert stored.kick(f"_outputFormat={name}&_type=List").status_code == 202


def test_types_that_are_not_for_everybody(stored: Exporter) -> None:
    """ "Types that a caller may not see (fhirapi.interactions.GUARDED) are left out", of files that an owner asked for as well."""
    from tenants.services import token_create

    assert_refused(stored.kick("_type=AuditEvent"), 403, "forbidden")
    assert "AuditEvent" not in stored.row(stored.started()).rtypes
    owner = token_create(tenant=stored.hospital.tenant, name="owner", role="owner")
    auth = {"authorization": f"Bearer {owner}"}
    status = stored.kick("_type=Patient,AuditEvent", **auth)["Content-Location"]
    stored.run(status)
    assert stored.get(status).status_code == 404
    manifest = stored.get(status, **auth).json()
    assert stored.get(manifest["output"][0]["url"]).status_code == 404
    assert stored.get(manifest["output"][0]["url"], **auth).status_code == 200


def test_another_hospital(stored: Exporter, olaf: Hospital) -> None:
    """ "behind the same token check (another hospital: 404)": by its own base and by ours."""
    status = stored.started("_type=Patient")
    stored.run(status)
    url = stored.manifest(status)["output"][0]["url"]
    other = Exporter(olaf)
    for address in (status, url):
        assert_refused(other.get(address), 404, "not-found")
        assert_refused(other.get(address.replace(stored.path, other.path)), 404, "not-found")
        assert stored.client.get(address.removeprefix("http://testserver")).status_code == 401
    assert_refused(other.delete(status.replace(stored.path, other.path)), 404, "not-found")
    assert stored.get(status).status_code == 200
    assert_refused(stored.get(url.replace("Patient-1", "Patient-2")), 404, "not-found")


def test_audit(mercy: Hospital) -> None:
    """ "Audit row per kick-off and per file download"."""
    bulk = filled(mercy)
    manifest = bulk.exported("_type=Patient,Group")
    for entry in manifest["output"]:
        bulk.lines(entry["url"])
    with mercy.scope():
        rows = list(AuditEvent.objects.filter(action__startswith="fhir.export").order_by("id").values_list("action", "detail"))
    assert rows[0] == ("fhir.export", {"level": "system", "types": 2})
    assert [(action, detail["file"], detail["lines"]) for action, detail in rows[1:]] == [
        ("fhir.export.read", "Patient-1", 2), ("fhir.export.read", "Group-2", 1),
    ]  # fmt: skip


def test_as_many_as_may(bulk: Exporter, olaf: Hospital, settings: Any) -> None:
    """ "A limit of running exports per hospital (429 with Retry-After)"."""
    settings.MEDHUB_BULK_RUNNING = 1
    first = bulk.started("_type=Patient")
    refused = bulk.kick()
    assert_refused(refused, 429, "throttled")
    assert int(refused["Retry-After"]) > 0
    assert Exporter(olaf).kick().status_code == 202
    bulk.run(first)
    assert bulk.kick().status_code == 202


def test_cancelled(bulk: Exporter) -> None:
    """ "DELETE cancels (202) and removes files", while it runs or afterwards."""
    running, done = bulk.started(), bulk.started("_type=Patient")
    bulk.run(done)
    url = bulk.manifest(done)["output"][0]["url"]
    rows = [bulk.row(status) for status in (running, done)]
    for status in (running, done):
        assert bulk.delete(status).status_code == 202
        assert_refused(bulk.get(status), 404, "not-found")
    assert_refused(bulk.get(url), 404, "not-found")
    bulk.run(running)
    assert not any(export_folder(tenant_id=row.tenant_id, export_id=row.id).exists() for row in rows)
    assert bulk.post("Patient", patient()).status_code == 201
