"""Wire family "FHIR REST": what we send as a transaction, reports of others by search, and a subscription that says when to look.

De-identified by construction: a patient is a surrogate identifier here, a study its surrogate UIDs, and nothing else.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import orjson
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from ai.contract import Handle, Http, Payload, PlatformError
from ai.wires.replies import object_read, status_check

KIND = "application/fhir+json"
SURROGATE = "https://medicalcloudaihub.com/fhir/sid/surrogate"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
NAMESPACE = uuid.UUID("5f2f1c6e-3f0d-5c2b-9c55-3d2d1f9f6f11")
MAX_PAGES = 20
MAX_RESOURCES = 2000
ID = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9.-]{1,64}")  # FHIR R4 2.24.0.1


def bundle_of(handle: Handle, *, can_make_ids: bool) -> dict[str, Any]:
    """Patient and ImagingStudy (R4) as a transaction that may be sent twice.

    `can_make_ids`: by PUT to ids of ours, for servers that create on update; else by conditional create (R4 3.1.0.8.1).
    """
    study = f"urn:oid:{handle.study_uid}"
    patient_id, study_id = (str(uuid.uuid5(NAMESPACE, text)) for text in (f"Patient|{handle.patient_id}", study))
    patient = {"resourceType": "Patient", "identifier": [{"system": SURROGATE, "value": handle.patient_id}]}
    imaging = {
        "resourceType": "ImagingStudy",
        "identifier": [{"system": "urn:dicom:uid", "value": study}],
        "status": "available",
        "subject": {"reference": f"Patient/{patient_id}" if can_make_ids else f"urn:uuid:{patient_id}"},
        "numberOfSeries": 1,
        "numberOfInstances": len(handle.files),
        "series": [_series(handle)],
    }
    entries = []
    for rid, resource, token in ((patient_id, patient, f"{SURROGATE}|{handle.patient_id}"), (study_id, imaging, f"urn:dicom:uid|{study}")):
        kind = str(resource["resourceType"])
        if can_make_ids:
            request = {"method": "PUT", "url": f"{kind}/{rid}"}
            resource = {**resource, "id": rid}
        else:
            request = {"method": "POST", "url": kind, "ifNoneExist": f"identifier={token}"}
        entries.append({"fullUrl": f"urn:uuid:{rid}", "resource": resource, "request": request})
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def bundle_send(handle: Handle, *, base_url: str, http: Http, can_make_ids: bool, end: str = "") -> str:
    """POST the transaction to `base_url` + `end`; returns "<Patient id>/<ImagingStudy id>" of the server's. Raises PlatformError."""
    bundle = bundle_of(handle, can_make_ids=can_make_ids)
    headers = {"Content-Type": KIND, "Accept": KIND}
    status, _, content = http.request("POST", f"{base_url}{end}", headers=headers, content=orjson.dumps(bundle))
    entries = _resource(status, content, "the study's record").get("entry")
    responses = [entry.get("response") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    said = [one for one in responses if isinstance(one, dict) and str(one.get("status", "")).startswith("2")]
    if len(said) != 2:
        raise PlatformError("the platform did not confirm the study's record", is_permanent=False)
    if can_make_ids:
        return "/".join(str(entry["resource"]["id"]) for entry in bundle["entry"])
    found = [_located(one) for one in said]
    if not all(found):
        raise PlatformError("the platform's answer does not say where it keeps the study's record", is_permanent=False)
    return "/".join(found)


def record_is_there(remote_id: str, *, base_url: str, http: Http) -> bool:
    """Whether the server, asked afterwards, has the ImagingStudy that we sent. Raises PlatformError."""
    study_id = remote_id.partition("/")[2]
    status, _, content = http.request("GET", f"{base_url}/ImagingStudy/{study_id}", headers={"Accept": KIND})
    return status != 404 and _resource(status, content, "the question for the study's record").get("id") == study_id


def reports_fetch(remote_id: str, handle: Handle, *, base_url: str, http: Http) -> Payload | None:
    """DiagnosticReports about our study with their Observations, as one Bundle; None before there is one. Raises PlatformError."""
    patient_id, _, study_id = remote_id.partition("/")
    query = {"subject": f"Patient/{patient_id}", "_include": "DiagnosticReport:result", "_count": "50"}
    found = list(_search(f"{base_url}/DiagnosticReport?{urlencode(query)}", http))
    ours = {f"ImagingStudy/{study_id}", f"urn:oid:{handle.study_uid}"}
    reports = [one for one in found if one.get("resourceType") == "DiagnosticReport" and _studies(one) & ours]
    if not reports:
        return None
    wanted = {str(link.get("reference")) for one in reports for link in one.get("result") or () if isinstance(link, dict)}
    others = [one for one in found if f"{one.get('resourceType')}/{one.get('id')}" in wanted]
    entries = [{"resource": one} for one in (*reports, *others)]
    return Payload(kind="fhir", data={"resourceType": "Bundle", "type": "collection", "entry": entries})


def subscription_ask(remote_id: str, *, base_url: str, http: Http, endpoint: str) -> None:
    """Ask to be told, without content, when a report about our patient is there (R4 Subscription, rest-hook). Raises PlatformError."""
    patient_id = remote_id.partition("/")[0]
    body = {
        "resourceType": "Subscription", "status": "requested", "reason": "results of a study that was sent",
        "criteria": f"DiagnosticReport?subject=Patient/{patient_id}",
        "channel": {"type": "rest-hook", "endpoint": endpoint},  # no payload: the call itself is the news
    }  # fmt: skip
    status, _, _ = http.request(
        "POST", f"{base_url}/Subscription", headers={"Content-Type": KIND, "Accept": KIND}, content=orjson.dumps(body)
    )
    status_check(status, what="the subscription")


def server_check(*, base_url: str, http: Http) -> str:
    """The server's CapabilityStatement, and a search, which the key must allow. Raises PlatformError."""
    status, _, content = http.request("GET", f"{base_url}/metadata", headers={"Accept": KIND})
    answer = _resource(status, content, "the question for its capabilities")
    if answer.get("resourceType") != "CapabilityStatement":
        raise PlatformError("what answered is no FHIR server", is_permanent=True)
    version = str(answer.get("fhirVersion"))
    if not version.startswith("4."):
        raise PlatformError("the FHIR server is not of version R4", is_permanent=True)
    status, _, content = http.request("GET", f"{base_url}/Patient?_count=1", headers={"Accept": KIND})
    _resource(status, content, "a search")
    return "the FHIR R4 server answered"


def _series(handle: Handle) -> dict[str, Any]:
    modality = {"system": DCM, "code": handle.modality or "OT"}
    instances = [{"uid": uid, "sopClass": {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{kind}"}} for uid, kind in _instances(handle)]
    return {"uid": handle.series_uid, "modality": modality, "numberOfInstances": len(instances), "instance": instances}


def _instances(handle: Handle) -> Iterator[tuple[str, str]]:
    """(SOP Instance UID, SOP Class UID) from the head of each file."""
    for path in handle.files:
        try:
            head = dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "SOPClassUID"])
            yield str(head.SOPInstanceUID), str(head.SOPClassUID)
        except (InvalidDicomError, AttributeError, EOFError) as error:
            raise PlatformError("an object to be sent is no DICOM object", is_permanent=True) from error


def _resource(status: int, content: bytes, what: str) -> dict[str, Any]:
    """The answer's resource. Of an OperationOutcome only the code is told: its words may repeat what was sent (R4 3.1.0.1.10)."""
    if status in {400, 409, 412, 422}:
        raise PlatformError(f"the platform refused {what} ({status}{_code(content)})", is_permanent=status != 409)
    status_check(status, what=what)
    return object_read(content)


def _code(content: bytes) -> str:
    try:
        said = orjson.loads(content)
        code = said["issue"][0]["code"] if said["resourceType"] == "OperationOutcome" else ""
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        return ""
    is_code = isinstance(code, str) and len(code) <= 32 and code.replace("-", "").isascii() and code.replace("-", "").isalpha()
    return f", {code}" if is_code else ""


def _located(response: Mapping[str, Any]) -> str:
    """The id in a location, which is relative at some servers and whole at others."""
    parts = urlsplit(str(response.get("location", ""))).path.split("/_history")[0].strip("/").split("/")
    return parts[-1] if len(parts) >= 2 and ID.fullmatch(parts[-1]) else ""


def _search(url: str, http: Http) -> Iterator[dict[str, Any]]:
    """Resources of all pages; a next page elsewhere than on this server is not followed."""
    origin, count = urlsplit(url)[:2], 0
    for _ in range(MAX_PAGES):
        status, _, content = http.request("GET", url, headers={"Accept": KIND})
        bundle = _resource(status, content, "the search for reports")
        entries = bundle.get("entry") or []
        for entry in entries if isinstance(entries, list) else []:
            resource = entry.get("resource") if isinstance(entry, dict) else None
            count += 1
            if count > MAX_RESOURCES:
                raise PlatformError("the platform's answer has too many resources", is_permanent=True)
            if isinstance(resource, dict):
                yield resource
        links = bundle.get("link") or []
        following = next((one.get("url") for one in links if isinstance(one, dict) and one.get("relation") == "next"), None)
        if not isinstance(following, str):
            return
        url = urljoin(url, following)
        if urlsplit(url)[:2] != origin:
            raise PlatformError("the platform's next page is on another server", is_permanent=True)


def _studies(report: Mapping[str, Any]) -> set[str]:
    found = set()
    for link in report.get("imagingStudy") or ():
        if isinstance(link, dict):
            identifier = link.get("identifier")
            found.add(str(link.get("reference", "")))
            found.add(str(identifier.get("value", "")) if isinstance(identifier, dict) else "")
    return found - {""}
