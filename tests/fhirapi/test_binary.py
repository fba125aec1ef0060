"""Binary: raw bytes in and out, or the resource that holds them (FHIR R4 2.44.2)."""

import base64
from typing import Any

import pytest

from fhirapi import registry, validation
from tests.conftest import Hospital
from tests.fhirapi.test_http import assert_outcome
from tests.fhirapi.writing import FHIR_JSON, Writer

PNG = bytes(range(256)) * 8


@pytest.fixture
def fhir(mercy: Hospital, monkeypatch: pytest.MonkeyPatch) -> Writer:
    if "Binary" not in registry.TYPES:
        kind = registry.ResourceType(name="Binary", number=20, params=())
        monkeypatch.setitem(registry.TYPES, "Binary", kind)
        monkeypatch.setitem(registry.NAMES, 20, "Binary")
        monkeypatch.setitem(validation._definitions(), "Binary", {})
    return Writer(mercy)


def test_raw_bytes_come_back(fhir: Writer) -> None:
    """ "POST/GET with any content type raw (as Binary resource when FHIR is asked for)"."""
    made = fhir.post("Binary", PNG, media="image/png")
    assert made.status_code == 201, made.content
    assert made.json()["contentType"] == "image/png"
    path = f"Binary/{made.json()['id']}"
    for accept in ("image/png", "*/*", "", "text/html, */*;q=0.5"):
        raw = fhir.get(path, accept=accept)
        assert (raw.content, raw["Content-Type"], raw["ETag"]) == (PNG, "image/png", 'W/"1"')
    for asked in (fhir.get(path, accept=FHIR_JSON), fhir.get(path, accept="application/json"), fhir.get(f"{path}?_format=json")):
        assert asked["Content-Type"] == FHIR_JSON
        assert base64.b64decode(asked.json()["data"]) == PNG
    assert fhir.get(path, **{"if-none-match": 'W/"1"'}).status_code == 304
    assert fhir.get(f"{path}/_history/1").content == PNG
    assert_outcome(fhir.get("Binary/never"), 404)


def test_a_download_is_harmless(fhir: Writer) -> None:
    """ "download headers safe (Content-Disposition attachment, nosniff, sandbox CSP)", whatever type was claimed."""
    for media, served in (("text/html", "text/html"), ("image/svg+xml", "image/svg+xml"), ("x y", "application/octet-stream")):
        made = fhir.post("Binary", {"resourceType": "Binary", "contentType": media, "data": base64.b64encode(b"<script>").decode()})
        if made.status_code == 422:  # no content type at all
            continue
        raw = fhir.get(f"Binary/{made.json()['id']}", accept="*/*")
        assert raw["Content-Type"] == served
        assert raw["Content-Disposition"] == "attachment"
        assert raw["X-Content-Type-Options"] == "nosniff"
        assert raw["Content-Security-Policy"] == "sandbox; default-src 'none'"


def test_the_security_context_is_kept(fhir: Writer) -> None:
    """ "securityContext ignored but kept", and a raw PUT makes the next version."""
    sent: dict[str, Any] = {"resourceType": "Binary", "id": "b", "contentType": "text/plain", "data": "eA==",
                            "securityContext": {"reference": "Patient/p"}}  # fmt: skip
    assert fhir.put("Binary/b", sent).status_code == 201
    assert fhir.get("Binary/b", accept=FHIR_JSON).json()["securityContext"] == {"reference": "Patient/p"}
    assert fhir.get("Binary/b", accept="text/plain").content == b"x"
    assert fhir.put("Binary/b", b"yy", media="text/plain; charset=utf-8")["ETag"] == 'W/"2"'
    raw = fhir.get("Binary/b", accept="text/plain")
    assert (raw.content, raw["Content-Type"]) == (b"yy", "text/plain; charset=utf-8")


def test_limits(fhir: Writer, settings: Any) -> None:
    settings.MEDHUB_FHIR_RESOURCE_BYTES = 1000
    assert_outcome(fhir.post("Binary", PNG, media="image/png"), 413)
    assert_outcome(fhir.post("Binary", b"", media="image/png"), 400)
