"""An answer of the performer profile, of whatever kind, as typed findings. The reading itself is `ai.reading`'s."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ai.contract import Payload, PlatformError, Sent
from ai.findings import Algorithm, Answer, Note
from ai.reading.fhir import bundle_read
from ai.reading.hook import hook_read
from ai.reading.objects import objects_read
from ai.reading.part10 import header_read, hostile

UNSTATED = "not stated"


def answer_read(payload: Payload, *, algorithm: str) -> Answer:
    """Raises PlatformError for whatever is no answer. The maker is who the answer says made it, never the connection's vendor."""
    if payload.kind == "dicom" and payload.files:
        maker = _words(header_read(payload.files[0]).get("Manufacturer"))
        return objects_read(payload.files, algorithm=_algorithm(algorithm, maker))
    if payload.kind == "json":
        model = payload.data.get("model")
        maker = _words(model.get("name") if isinstance(model, Mapping) else "")
        return _about(hook_read(payload.data, algorithm=_algorithm(algorithm, maker)), payload.sent)
    if payload.kind == "fhir":
        return _about(bundle_read(payload.data, algorithm=_algorithm(algorithm, _fhir_maker(payload.data))), payload.sent)
    if payload.kind == "none" and payload.sent is not None:
        return _nothing(payload.sent, algorithm)
    raise PlatformError("the answer is of a kind that cannot be read", is_permanent=True)


def _algorithm(name: str, maker: str) -> Algorithm:
    return Algorithm(name=name, version="", manufacturer=maker)


def _about(answer: Answer, sent: Sent | None) -> Answer:
    """What an answer does not repeat is what was sent; what it does say stays, for the gate to compare."""
    if sent is None:
        return answer
    return replace(
        answer, study_uid=answer.study_uid or sent.study_uid, series_uid=answer.series_uid or sent.series_uid,
        sop_uids=answer.sop_uids or sent.sop_uids,
    )  # fmt: skip


def _fhir_maker(data: Mapping[str, Any]) -> str:
    """The Device's manufacturer, where exactly one Device is there; else the report's performer."""
    with hostile("the FHIR answer has a wrong shape"):
        resources = [entry["resource"] for entry in data.get("entry") or () if "resource" in entry]
        devices = [one for one in resources if one.get("resourceType") == "Device"]
        if len(devices) == 1:
            return _words(devices[0].get("manufacturer"))
        reports = [one for one in resources if one.get("resourceType") == "DiagnosticReport"]
        performers = (reports[0].get("performer") or [{}]) if reports else [{}]
        return _words(performers[0].get("display"))


def _words(value: object) -> str:
    text = " ".join(str(value or "").split())
    return text[:64] if text.isprintable() and text else UNSTATED


def _nothing(sent: Sent, algorithm: str) -> Answer:
    """The other side ended without a result: that is said, and is no finding."""
    return Answer(
        algorithm=_algorithm(algorithm, UNSTATED), study_uid=sent.study_uid, series_uid=sent.series_uid, sop_uids=sent.sop_uids,
        input_sha256="", not_analysable=Note(code="no_result", text="the platform ended without a result"),
    )  # fmt: skip
