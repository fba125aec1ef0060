"""`reports` and `deliveries` of the API, and the printed form that a DiagnosticReport points at."""

import json
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from pypdf import PdfReader

from ai.delivery import services
from fhirapi.store import resource_read
from journal.models import AuditEvent
from tests.ai.delivery.reports import deliveries, finish, issued, report_make, sources_take, step
from tests.ai.encoding.cases import content_of
from tests.fhirapi.projecting import valid
from tests.orthanc import port_free

pytestmark = pytest.mark.database


def call(client: Any, hospital: Any, path: str, method: str = "GET") -> Any:
    return client.generic(method, f"/t/{hospital.slug}/api/v1/{path}", headers=hospital.auth)


def test_reports_and_where_they_went(client, mercy, olaf) -> None:
    """"each with API twin under `/t/<slug>/api/v1/reports`": every version an item, the newest one by its uuid, nothing next door."""
    content = content_of(sources_take(mercy))
    first = report_make(mercy, content)
    report_make(mercy, content, before=first)
    finish(mercy)
    listed = call(client, mercy, "reports?limit=1").json()
    assert [(one["id"], one["version"]) for one in listed["items"]] == [(str(first.uuid), 2)]
    assert call(client, mercy, listed["next"].split("/api/v1/")[1]).json()["items"][0]["version"] == 1
    found = call(client, mercy, f"reports/{first.uuid}").json()
    assert [(one["target_name"], one["version"], one["state"]) for one in found["deliveries"]] == [("our archive", 2, "sent")]
    assert call(client, mercy, f"reports/{first.uuid}?version=1").json()["version"] == 1
    assert call(client, mercy, f"reports?study={first.study.uuid}").json()["items"]
    for path, status in ((f"reports/{first.uuid}?version=9", 404), (f"reports/{first.uuid}?version=x", 400), ("reports?study=x", 400)):
        assert call(client, mercy, path).status_code == status, path
    assert call(client, olaf, f"reports/{first.uuid}").status_code == 404
    assert call(client, olaf, "reports").json()["items"] == []


def test_the_printed_form_that_fhir_points_at(client, mercy, olaf) -> None:
    """"`presentedForm`: url of that PDF door (absolute, contentType application/pdf, title)": the same token fetches it there."""
    report = issued(mercy)
    with mercy.scope():
        resource = orjson.loads(resource_read(rtype="DiagnosticReport", fhir_id=str(report.uuid)).content)
    valid(resource)
    [form] = resource["presentedForm"]
    assert form["contentType"] == "application/pdf"
    assert form["title"] == "AI result: lung-density-mask, version 1"
    where = urlsplit(form["url"])
    assert where.scheme in {"http", "https"}
    address = f"{where.path}?{where.query}"
    answer = client.get(address, headers=mercy.auth)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/pdf")
    assert "no-store" in answer.headers["Cache-Control"]
    assert "JANE DOE" in PdfReader(BytesIO(answer.content)).pages[0].extract_text()
    with mercy.scope():
        assert AuditEvent.objects.filter(action="study.report.view", object_id=str(report.study.uuid)).count() == 1
    assert client.get(address).status_code == 401
    assert client.get(address, headers=olaf.auth).status_code == 404
    assert client.get(address.replace(mercy.slug, olaf.slug), headers=olaf.auth).status_code == 404


def test_a_delivery_and_its_resend(client, mercy, olaf, node_at, monkeypatch) -> None:
    """"`/deliveries` (list, detail, POST resend)": every attempt and answer; 409 while it is on its way."""
    monkeypatch.setattr(services, "MAX_ATTEMPTS", 1)
    node_at(mercy, port_free(), "RECV", results_as="sr")
    issued(mercy)
    [row] = deliveries(mercy, kind="pacs_dimse")
    assert call(client, mercy, f"deliveries/{row.id}/resend", "POST").status_code == 409
    step(mercy)
    [item] = call(client, mercy, "deliveries?state=failed").json()["items"]
    assert (item["id"], item["kind"], item["target_name"], item["attempts"]) == (str(row.id), "pacs_dimse", "RECV", 1)
    found = call(client, mercy, f"deliveries/{row.id}").json()
    assert [(one["is_good"], one["words"]) for one in found["tries"]] == [(False, item["words"])]
    again = call(client, mercy, f"deliveries/{row.id}/resend", "POST")
    assert (again.status_code, again.json()["state"], again.json()["attempts"]) == (200, "pending", 0)
    assert call(client, mercy, "deliveries?state=x").status_code == 400
    for path, method in ((f"deliveries/{row.id}", "GET"), (f"deliveries/{row.id}/resend", "POST"), (f"deliveries/{10**30}", "GET")):
        assert call(client, olaf, path, method).status_code == 404, path


def test_which_nodes_get_results(client, mercy) -> None:
    """"API field" of a node: said, kept, refused where it is nothing that we send."""
    body = {"ae_title": "PACS", "host": "127.0.0.1", "port": 104, "results_as": "sr+pdf"}
    made = client.post(f"/t/{mercy.slug}/api/v1/nodes", json.dumps(body), content_type="application/json", headers=mercy.auth)
    assert (made.status_code, made.json()["results_as"]) == (201, "sr+pdf")
    path = f"/t/{mercy.slug}/api/v1/nodes/{made.json()['id']}"
    for value, status in (("", 200), ("sc", 200), ("fax", 400)):
        answer = client.patch(path, json.dumps({"results_as": value}), content_type="application/json", headers=mercy.auth)
        assert answer.status_code == status, value
