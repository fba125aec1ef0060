"""The door's manners: content types, ETags, errors as OperationOutcomes, audit, and nothing personal in logs."""

import logging
from typing import Any

import pytest
from django.core.exceptions import SuspiciousOperation
from django.test import Client
from django.utils.http import parse_http_date
from fhir.resources.R4B import get_fhir_model_class
from rest_framework.throttling import BaseThrottle

from fhirapi.store import ResourceGoneError, StoreConflictError, resource_read, resources_put
from fhirapi.validation import InvalidResourceError
from fhirapi.views import read
from fhirapi.views.formats import FHIR_XML
from fhirapi.views.read import ReadView
from journal.models import AuditEvent
from tenants import services
from tests.conftest import Hospital
from tests.fhirapi.conftest import Fhir, patient_resource

FHIR_JSON = "application/fhir+json"


@pytest.fixture
def stored(mercy: Hospital) -> str:
    with mercy.scope():
        resources_put(resources=[patient_resource("p1")])
    return "Patient/p1"


def assert_outcome(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response["Content-Type"] == FHIR_JSON
    body = response.json()
    get_fhir_model_class("OperationOutcome").model_validate(body)
    assert body["issue"][0]["severity"] in {"error", "fatal"}
    return body["issue"][0]


def test_read_has_version_and_date(stored: str, mercy: Hospital, fhir: Fhir) -> None:
    """ "read (ETag W/"n", Last-Modified, If-None-Match 304)"."""
    first = fhir.get(stored)
    assert (first.status_code, first["Content-Type"], first["ETag"]) == (200, FHIR_JSON, 'W/"1"')
    with mercy.scope():
        moment = resource_read(rtype="Patient", fhir_id="p1").last_updated
        resources_put(resources=[patient_resource("p1", active=True)])
    assert parse_http_date(first["Last-Modified"]) == int(moment.timestamp())
    assert fhir.get(stored)["ETag"] == 'W/"2"'


@pytest.mark.parametrize(
    ("header", "status"),
    [('W/"1"', 304), ('"1"', 304), ("1", 304), ('W/"7", W/"1"', 304), ("*", 304), ('W/"2"', 200), ("nonsense", 200), ("", 200)],
)
def test_if_none_match(stored: str, fhir: Fhir, header: str, status: int) -> None:
    """A client that has the version gets 304 and no body, however it writes the tag."""
    response = fhir.get(stored, **{"if-none-match": header})
    assert response.status_code == status
    assert response["ETag"] == 'W/"1"'
    assert bool(response.content) == (status == 200)


@pytest.mark.parametrize(
    "accept",
    ["", FHIR_JSON, "application/json", "application/fhir+json; fhirVersion=4.0", "text/html,application/xhtml+xml,*/*;q=0.8",
     "text/turtle, application/json;q=0.5", "application/fhir+json, */*; q=0.1", "APPLICATION/JSON",
     "application/fhir+xml, application/fhir+json", "application/xml;q=0.8, application/*"],
)  # fmt: skip
def test_accept_is_read_with_good_will(stored: str, fhir: Fhir, accept: str) -> None:
    """ "Accept handling tolerant": whatever could mean JSON gets it, under the one right name."""
    response = fhir.get(stored, accept=accept)
    assert (response.status_code, response["Content-Type"]) == (200, FHIR_JSON)


@pytest.mark.parametrize(
    "accept", ["text/turtle", "application/fhir+json; fhirVersion=5.0", "application/json;q=0", "application/fhir+xml; fhirVersion=3.0"]
)
def test_what_is_not_served_is_406(stored: str, fhir: Fhir, accept: str) -> None:
    """Turtle and other FHIR versions."""
    assert_outcome(fhir.get(stored, accept=accept), 406)


@pytest.mark.parametrize(
    ("query", "accept", "media"),
    [
        ("", "application/fhir+xml", FHIR_XML), ("", "application/fhir+xml, application/json;q=0.5", FHIR_XML), ("", "text/xml", FHIR_XML),
        ("?_format=xml", "", FHIR_XML), ("?_format=application/fhir%2Bxml", FHIR_JSON, FHIR_XML), ("?_format=json", FHIR_XML, FHIR_JSON),
        ("", "application/xml;q=0.4, application/fhir+json;q=0.5", FHIR_JSON), ("?_format=text/xml", "", FHIR_XML),
    ],
)  # fmt: skip
def test_xml(stored: str, fhir: Fhir, query: str, accept: str, media: str) -> None:
    """ "JSON and XML": by Accept or `_format`, for resources, bundles and errors; and in again."""
    read = fhir.get(f"{stored}{query}", accept=accept)
    assert (read.status_code, read["Content-Type"], read["ETag"]) == (200, media, 'W/"1"')
    for path, status in (("Patient", 200), ("Patient/_history", 200), ("metadata", 200), ("Patient/never", 404)):
        response = fhir.get(f"{path}{query}", accept=accept)
        assert (response.status_code, response["Content-Type"]) == (status, media)
        assert response.content.startswith(b"<?xml" if media == FHIR_XML else b"{")
    if media == FHIR_XML:
        again = fhir.client.put(f"{fhir.path}/{stored}", read.content, content_type=FHIR_XML, headers=fhir.hospital.auth)
        assert (again.status_code, again["ETag"]) == (200, 'W/"1"')
        broken = fhir.client.post(f"{fhir.path}/Patient", b"<Patient", content_type=FHIR_XML, headers=fhir.hospital.auth)
        assert_outcome(broken, 400)


@pytest.mark.parametrize("name", ["json", "application/json", FHIR_JSON, "application/fhir%2Bjson"])
def test_format_wins_over_accept(stored: str, fhir: Fhir, name: str) -> None:
    """ "`_format=json|application/fhir+json` ok, other -> 406"."""
    assert fhir.get(f"{stored}?_format={name}", accept="text/turtle").status_code == 200
    assert fhir.get(f"Patient?_format={name}").status_code == 200
    for other in ("ttl", "html/json"):
        assert_outcome(fhir.get(f"{stored}?_format={other}"), 406)


def test_no_or_a_wrong_token_is_401(stored: str, fhir: Fhir) -> None:
    """RFC 6750: the challenge names the scheme."""
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer a b"}, {"authorization": "Basic eDp5"}):
        response = fhir.client.get(f"{fhir.path}/{stored}", headers=headers)
        assert assert_outcome(response, 401)["code"] == "login"
        assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("method", ["get", "head"])
def test_a_role_without_the_capability_is_403(stored: str, mercy: Hospital, fhir: Fhir, method: str) -> None:
    """fhir.read opens this door, for HEAD as well."""
    token = services.token_create(tenant=mercy.tenant, name="billing", role="billing")
    response = getattr(fhir.client, method)(f"{fhir.path}/{stored}", headers={"authorization": f"Bearer {token}"})
    assert response.status_code == 403
    if method == "get":
        assert_outcome(response, 403)


@pytest.mark.parametrize(
    "path",
    ["Patient/p2", "Patient/%20", f"Patient/{'x' * 65}", "Basic", "Basic/1", "patient/p1", "Patient/p1/_history/2",
     "Patient/p1/_history/x", "Patient/p2/_history", "Basic/_history", "Patient/p1/", "a/b/c/d", "$exports", "%00"],
)  # fmt: skip
def test_unknown_paths_types_and_ids_are_404(stored: str, fhir: Fhir, path: str) -> None:
    """ "also for unknown paths under the base and unknown types"."""
    issue = assert_outcome(fhir.get(path), 404)
    assert issue["code"] in {"not-found", "not-supported"}


@pytest.mark.parametrize(
    ("method", "path"),
    [("options", "Patient/p1"), ("get", "Patient/_search"), ("delete", "metadata"), ("post", "Patient/p1"), ("put", ""),
     ("delete", "Patient/p1/_history"), ("delete", "Patient/p1/_history/1"), ("post", "_history"), ("put", "ImagingStudy/x"),
     ("patch", "ImagingStudy/x"), ("delete", "ImagingStudy/x"), ("post", "ImagingStudy"), ("delete", "ImagingStudy?_id=x")],
)  # fmt: skip
def test_interactions_that_are_not_there_are_405(stored: str, fhir: Fhir, method: str, path: str) -> None:
    """ "ImagingStudy and AuditEvent are never written by REST (405)", nor is a history."""
    response = getattr(fhir.client, method)(f"{fhir.path}/{path}", headers=fhir.hospital.auth)
    assert_outcome(response, 405)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreConflictError(), 409, "conflict"),
        (ResourceGoneError(), 410, "deleted"),
        (InvalidResourceError("Patient is not valid at name"), 422, "processing"),
        (SuspiciousOperation("Jane"), 400, "invalid"),
        (RuntimeError("Jane"), 500, "exception"),
    ],
)
def test_every_failure_is_an_outcome(
    stored: str,
    fhir: Fhir,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    code: str,
) -> None:
    """ "Every error is an OperationOutcome; no PHI in diagnostics", and none in the words that are logged."""

    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(read, "resource_read", fail)
    with caplog.at_level(logging.DEBUG):
        response = fhir.get(f"{stored}?name=Jane")
    assert assert_outcome(response, status)["code"] == code
    assert "Jane" not in response.content.decode()
    for record in caplog.records:
        assert "Jane" not in record.getMessage()
        assert "p1" not in record.getMessage()
    assert bool([record for record in caplog.records if record.levelno >= logging.ERROR]) == (status == 500)


def test_a_failure_rolls_back(stored: str, mercy: Hospital, fhir: Fhir, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error after a write leaves no half of it, not even its audit row."""
    honest = read.audit_record

    def fail(**kwargs: Any) -> None:
        honest(**kwargs)
        raise RuntimeError

    monkeypatch.setattr(read, "audit_record", fail)
    assert_outcome(fhir.get(stored), 500)
    with mercy.scope():
        assert not AuditEvent.objects.exists()


def test_a_failing_commit_is_an_outcome(stored: str, fhir: Fhir, monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks on the way out, after the view has answered, is no HTML page either."""

    def broken(self: Any, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(ReadView, "finalize_response", broken)
    assert_outcome(fhir.get(stored), 500)


def test_throttling_is_429(stored: str, fhir: Fhir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets a throttle on these views gets FHIR's answer from it."""

    class Closed(BaseThrottle):
        def allow_request(self, request: Any, view: Any) -> bool:
            return False

        def wait(self) -> float:
            return 7

    monkeypatch.setattr(ReadView, "throttle_classes", [Closed])
    response = fhir.get(stored)
    assert assert_outcome(response, 429)["code"] == "throttled"
    assert response["Retry-After"] == "7"


def test_reads_and_searches_are_audited(stored: str, mercy: Hospital, fhir: Fhir) -> None:
    """ "each read/search calls journal.audit.audit_record in the scope before the response"; searches keep no parameters."""
    fhir.get(stored)
    fhir.get(stored, **{"if-none-match": 'W/"1"'})
    fhir.search("Patient", "identifier=MRN-p1")
    fhir.client.post(
        f"{fhir.path}/Device/_search", "_count=1", content_type="application/x-www-form-urlencoded", headers=mercy.auth
    )
    fhir.get("Patient/unknown")
    with mercy.scope():
        found = list(AuditEvent.objects.values_list("action", "object_type", "object_id", "detail"))
        actors = set(AuditEvent.objects.values_list("actor", flat=True))
    seen = {(action, kind, name) for action, kind, name, _ in found}
    assert seen == {("fhir.read", "Patient", "p1"), ("fhir.search", "Patient", "-"), ("fhir.search", "Device", "-")}
    assert "MRN" not in repr(found)
    (actor,) = actors
    assert actor.startswith("token:")


def test_answers_are_not_kept_by_caches(stored: str, fhir: Fhir) -> None:
    """Clinical data stays out of shared caches; the ETag serves the client alone."""
    assert "no-store" in fhir.get(stored)["Cache-Control"]
    assert "no-store" in fhir.get("Patient")["Cache-Control"]


def test_head_is_get_without_a_body(stored: str, fhir: Fhir) -> None:
    """RFC 9110 9.3.2."""
    response = fhir.client.head(f"{fhir.path}/{stored}", headers=fhir.hospital.auth)
    assert (response.status_code, response["ETag"], response.content) == (200, 'W/"1"', b"")


def test_metadata_needs_no_token_but_a_hospital(mercy: Hospital, fhir: Fhir) -> None:
    """ "`metadata` may be open, but answer 404 for unknown hospital"."""
    assert Client().get(f"{fhir.path}/metadata").json()["implementation"]["url"] == fhir.base
    assert_outcome(Client().get("/t/nobody-here/fhir/r4/metadata"), 404)
    mercy.tenant.is_active = False
    mercy.tenant.save()
    assert_outcome(Client().get(f"{fhir.path}/metadata"), 404)
