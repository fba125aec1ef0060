"""MedHub Quantify: our built-in algorithms, a process of its own, reached like any other platform by its HTTP job interface."""

from collections.abc import Mapping
from typing import Any

import fastjsonschema

from ai.contract import (
    Algorithm,
    AlgorithmCard,
    Answer,
    Card,
    Coding,
    Handle,
    Http,
    Measurement,
    Note,
    Parameter,
    Platform,
    PlatformError,
    StudyFacts,
    Verdict,
)
from ai.wires import inference_job

LUNG_DENSITY = AlgorithmCard(
    name="lung-density-mask",
    title="Lung density mask",
    modalities=frozenset({"CT"}),
    body_parts=frozenset({"CHEST", "THORAX", "LUNG"}),
    role="quantification",
    clearance="none: not a medical device",
    min_instances=20,
)
CODING = {
    "type": "object",
    "required": ["system", "code", "display"],
    "properties": {name: {"type": "string", "minLength": 1, "maxLength": 200} for name in ("system", "code", "display")},
}
NOTE = {
    "type": "object",
    "required": ["code", "text"],
    "properties": {"code": {"type": "string", "maxLength": 64}, "text": {"type": "string", "maxLength": 300}},
}
SCHEMA = {
    "type": "object",
    "required": ["status", "algorithm", "input"],
    "properties": {
        "status": {"enum": ["done", "not_analysable"]},
        "algorithm": {
            "type": "object",
            "required": ["name", "version", "manufacturer"],
            "properties": {
                "name": {"type": "string", "maxLength": 64},
                "version": {"type": "string", "maxLength": 32},
                "manufacturer": {"const": "MedHub Quantify"},
            },
        },
        "input": {
            "type": "object",
            "required": ["study_uid", "series_uid", "sop_uids"],
            "properties": {
                "study_uid": {"type": "string", "maxLength": 64},
                "series_uid": {"type": "string", "maxLength": 64},
                "sop_uids": {"type": "array", "items": {"type": "string", "maxLength": 64}},
                "sha256": {"type": ["string", "null"], "maxLength": 64},
            },
        },
        "measurements": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["code", "value", "unit", "unit_display", "method"],
                "properties": {
                    "code": CODING,
                    "value": {"type": "number"},
                    "unit": {"type": "string", "minLength": 1, "maxLength": 32},
                    "unit_display": {"type": "string", "maxLength": 32},
                    "method": {"type": "string", "maxLength": 300},
                    "body_site": {"anyOf": [CODING, {"type": "null"}]},
                },
            },
        },
        "reason": {"anyOf": [NOTE, {"type": "null"}]},
        "notes": {"type": "array", "items": NOTE},
    },
}
_check = fastjsonschema.compile(SCHEMA)


class MedHubQuantify(Platform):
    card = Card(
        slug="medhub-quantify",
        name="MedHub Quantify",
        vendor="MedHub",
        kind="built-in",
        summary="Computes from pixels on our own machines. Numbers with their method, no diagnosis. Not a medical device.",
        algorithms=(LUNG_DENSITY,),
        source="docs/quantify.md",
        is_in_house=True,
    )

    def accepts(self, facts: StudyFacts, algorithm: str) -> Verdict:
        card = next((item for item in self.card.algorithms if item.name == algorithm), None)
        if card is None:
            return Verdict(is_eligible=False, reason=f"{self.card.name} has no algorithm of that name")
        series = [item for item in facts.series if item.modality in card.modalities]
        if not series:
            have = ", ".join(sorted(facts.modalities)) or "not stated"
            return Verdict(is_eligible=False, reason=f"modality is {have}, {card.title} needs {', '.join(sorted(card.modalities))}")
        # A part that isn't stated is left to the algorithm's own gate, which looks at the pixels.
        stated = {item.body_part for item in series if item.body_part} or facts.body_parts
        if stated and not stated & card.body_parts:
            return Verdict(
                is_eligible=False, reason=f"body part is {', '.join(sorted(stated))}, {card.title} needs CHEST"
            )
        fitting = [item for item in series if not item.body_part or item.body_part in card.body_parts]
        best = max(fitting or series, key=lambda item: (item.instances, item.series_uid))
        if best.instances < card.min_instances:
            words = "1 slice" if best.instances == 1 else f"{best.instances} slices"
            return Verdict(is_eligible=False, reason=f"{words}, {card.title} needs {card.min_instances} or more")
        chosen = f"the largest of {len(fitting)} series" if len(fitting) > 1 else "its one fitting series"
        return Verdict(is_eligible=True, reason=f"{chosen}, {best.instances} slices", series=best)

    def send(self, handle: Handle, settings: Mapping[str, str], http: Http) -> str:
        return inference_job.job_post(handle, base_url=settings["base_url"], headers=self._headers(settings), http=http)

    def poll(self, remote_id: str, settings: Mapping[str, str], http: Http) -> dict[str, Any] | None:
        answer = inference_job.job_get(remote_id, base_url=settings["base_url"], headers=self._headers(settings), http=http)
        if answer is not None and answer.get("status") == "failed":
            raise PlatformError("the computation failed", is_permanent=True)
        return answer

    def parse(self, payload: dict[str, Any]) -> Answer:
        try:
            _check(payload)
        except fastjsonschema.JsonSchemaValueException as error:
            raise PlatformError(f"the answer's shape is wrong at {error.name[:80]}", is_permanent=True) from error
        source = payload["input"]
        reason = payload.get("reason") or {"code": "unstated", "text": "no reason given"}
        return Answer(
            algorithm=Algorithm(**{name: payload["algorithm"][name] for name in ("name", "version", "manufacturer")}),
            study_uid=source["study_uid"],
            series_uid=source["series_uid"],
            sop_uids=tuple(source["sop_uids"]),
            input_sha256=source.get("sha256") or "",
            measurements=tuple(_measurement(item) for item in payload.get("measurements") or ()),
            not_analysable=Note(code=reason["code"], text=reason["text"]) if payload["status"] == "not_analysable" else None,
            notes=tuple(Note(code=item["code"], text=item["text"]) for item in payload.get("notes") or ()),
        )

    def check(self, settings: Mapping[str, str], http: Http) -> str:
        status, _, _ = http.request("GET", f"{settings['base_url']}/healthz", headers={})
        if status != 200:
            raise PlatformError(f"MedHub Quantify answered {status}", is_permanent=False)
        return "MedHub Quantify is up"

    def _headers(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {"Authorization": f"Bearer {settings['api_key']}"}


def _coding(item: Mapping[str, str]) -> Coding:
    return Coding(system=item["system"], code=item["code"], display=item["display"])


def _measurement(item: Mapping[str, Any]) -> Measurement:
    return Measurement(
        code=_coding(item["code"]),
        value=float(item["value"]),
        unit=item["unit"],
        unit_display=item["unit_display"],
        body_site=_coding(item["body_site"]) if item.get("body_site") else None,
        method=item["method"],
        parameters=tuple(
            Parameter(code=_coding(p["code"]), value=float(p["value"]), unit=p["unit"]) for p in item.get("parameters") or ()
        ),
    )
