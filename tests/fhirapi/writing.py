"""What the tests of writing share: a client that writes, and small resources as clients send them."""

import json
from typing import Any

from tests.conftest import Hospital
from tests.fhirapi.conftest import Fhir

FHIR_JSON = "application/fhir+json"


class Writer(Fhir):
    """A hospital's base with every method; bodies are JSON values, texts or bytes."""

    def __init__(self, hospital: Hospital) -> None:
        super().__init__(hospital)

    def send(self, method: str, path: str, body: Any = None, *, media: str = FHIR_JSON, **headers: str) -> Any:
        url = path.removeprefix("http://testserver") if path.startswith("http://testserver/") else f"{self.path}/{path}"
        data = body if isinstance(body, bytes | str) else b"" if body is None else json.dumps(body)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.generic(method.upper(), url, data, content_type=media, headers={**self.hospital.auth, **names})

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.send("POST", path, body, **headers)

    def put(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.send("PUT", path, body, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        return self.send("PATCH", path, body, **({"media": "application/json-patch+json"} | headers))

    def delete(self, path: str, **headers: str) -> Any:
        return self.send("DELETE", path, **headers)

    def bundle(self, kind: str, *entries: dict[str, Any], **headers: str) -> Any:
        return self.post("", {"resourceType": "Bundle", "type": kind, "entry": list(entries)}, **headers)

    def made(self, body: dict[str, Any]) -> dict[str, Any]:
        response = self.post(body["resourceType"], body)
        assert response.status_code == 201, response.content
        found: dict[str, Any] = response.json()
        return found


def patient(number: str = "", **values: Any) -> dict[str, Any]:
    identifier = {"identifier": [{"system": "urn:oid:1.2.3", "value": number}]} if number else {}
    return {"resourceType": "Patient", **identifier, "gender": "female"} | values


def observation(subject: str = "Patient/x", **values: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation", "status": "final", "code": {"coding": [{"system": "http://loinc.org", "code": "1-8"}]},
        "subject": {"reference": subject},
    } | values  # fmt: skip


def entry(method: str, url: str, resource: Any = None, *, full_url: str = "", **request: str) -> dict[str, Any]:
    found: dict[str, Any] = {"request": {"method": method, "url": url, **request}}
    if full_url:
        found["fullUrl"] = full_url
    return found | ({"resource": resource} if resource is not None else {})
