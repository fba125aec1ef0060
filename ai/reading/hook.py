"""The JSON that a platform posts to its hook ("Hub Performer Profile") -> Answer. Called by platforms of the generic contract.

HOOK_SCHEMA is the published contract (docs/ai-results.md). It knows every member: one that it does not know could turn a
finding into its opposite, so it is refused.
"""

import math
from collections.abc import Mapping
from typing import Any

import fastjsonschema

from ai.findings import Algorithm, Answer, Coding, Finding, ImageRef, Measurement, Note, Outline
from ai.reading.part10 import refusal
from ai.reading.said import Said, answer_of
from ai.reading.schemes import SCT, words
from ai.reading.units import is_ucum

PRESENT = Coding(system=SCT, code="52101004", display="Present")
ABSENT = Coding(system=SCT, code="272519000", display="Absent")


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


def _text(longest: int, shortest: int = 0) -> dict[str, Any]:
    return {"type": "string", **({"minLength": shortest} if shortest else {}), "maxLength": longest}


UID = {"type": "string", "pattern": "^[0-9.]{1,64}$"}
FRAMES = {"type": "array", "maxItems": 10_000, "items": {"type": "integer", "minimum": 1, "maximum": 1_000_000}}
CODING = _object(["system", "code"], system=_text(200, 1), code=_text(64, 1), display=_text(200))
IMAGE = {"anyOf": [UID, _object(["sop_uid"], sop_uid=UID, frames=FRAMES)]}
COORDINATE = {"type": "number", "minimum": -1_000_000, "maximum": 1_000_000}
OUTLINE = _object(
    ["sop_uid", "graphic", "points"],
    sop_uid=UID,
    frame={"type": "integer", "minimum": 1, "maximum": 1_000_000},
    graphic={"enum": ["POINT", "MULTIPOINT", "POLYLINE", "CIRCLE", "ELLIPSE"]},
    points={
        "type": "array", "minItems": 1, "maxItems": 10_000,
        "items": {"type": "array", "minItems": 2, "maxItems": 2, "items": COORDINATE},
    },
)  # fmt: skip
FINDING = _object(
    ["code", "system"],
    code=_text(64, 1),
    system=_text(200, 1),
    display=_text(200),
    value={"anyOf": [{"type": "number"}, {"type": "boolean"}, CODING]},
    unit=_text(64, 1),
    unit_display=_text(32),
    probability={"type": "number", "minimum": 0, "maximum": 1},
    bodySite=CODING,
    laterality=CODING,
    method=_text(300),
    words=_text(1_000),
    tracking_uid=UID,
    sop_refs={"type": "array", "maxItems": 1_000, "items": IMAGE},
    outlines={"type": "array", "maxItems": 100, "items": OUTLINE},
)
HOOK_SCHEMA: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "Answer of a platform to its hook",
    **_object(
        ["job_id", "status", "model"],
        job_id=_text(128, 1),
        status={"enum": ["done", "not_analysable", "failed"]},
        reason={"anyOf": [_text(300), _object(["text"], code=_text(64), text=_text(300, 1))]},
        model=_object(["name", "version"], name=_text(64, 1), version=_text(64, 1), udi=_text(200)),
        findings={"type": "array", "maxItems": 1_000, "items": FINDING},
        flag={"type": "boolean"},
        notes={"type": "array", "maxItems": 100, "items": _text(300, 1)},
        study_uid=UID,
        series_uid=UID,
        sop_uids={"type": "array", "maxItems": 100_000, "items": UID},
    ),
}
_check = fastjsonschema.compile(HOOK_SCHEMA)


def hook_read(data: Mapping[str, Any], *, algorithm: Algorithm) -> Answer:
    """The posted body, already JSON, as an answer; whose hook it was and the signature are the door's business.

    `study_uid`, `series_uid` and `sop_uids` of the answer are empty where the body names none: whoever knows the job fills them.
    Raises PlatformError for another shape, numbers that are none, units that are not UCUM, `failed`, and "done" without a word.
    """
    try:
        _check(data)
    except fastjsonschema.JsonSchemaValueException as error:
        raise refusal(f"the answer's shape is wrong at {error.name[:80]}") from error
    if data["status"] == "failed":
        raise refusal(f"the platform could not compute it{_why(data)}")
    findings = data.get("findings") or ()
    refs = [ref["sop_uid"] if isinstance(ref, dict) else ref for item in findings for ref in item.get("sop_refs") or ()]
    named = [*(data.get("sop_uids") or ()), *refs]
    named += [outline["sop_uid"] for item in findings for outline in item.get("outlines") or ()]
    reason = _reason(data) if data["status"] == "not_analysable" else None
    said = Said(
        measurements=tuple(_measurement(item) for item in findings if _is_number(item)),
        findings=tuple(_finding(item) for item in findings if not _is_number(item)),
        notes=tuple(Note(code="comment", text=words(text, 300)) for text in data.get("notes") or ()),
        not_analysable=reason,
        is_flagged=bool(data.get("flag")),
        name=words(data["model"]["name"], 64),
        version=words(data["model"]["version"], 64),
        udi=words(data["model"].get("udi", ""), 200),
        images=tuple((data.get("series_uid", ""), uid) for uid in dict.fromkeys(named)),
    )
    return answer_of(said, algorithm=algorithm, study_uid=data.get("study_uid", ""))


def _reason(data: Mapping[str, Any]) -> Note:
    reason = data.get("reason") or {"text": "no reason given"}
    if isinstance(reason, str):
        reason = {"text": reason}
    return Note(code=words(reason.get("code") or "unstated", 64), text=words(reason["text"], 300))


def _why(data: Mapping[str, Any]) -> str:
    """A code of ours, or nothing: free words of a vendor about a failure may hold whatever it was looking at."""
    reason = data.get("reason")
    code = reason.get("code", "") if isinstance(reason, dict) else ""
    return f" ({code})" if code.isascii() and code.replace("_", "").replace("-", "").isalnum() and len(code) <= 32 else ""


def _is_number(item: Mapping[str, Any]) -> bool:
    return isinstance(item.get("value"), (int, float)) and not isinstance(item["value"], bool)


def _measurement(item: Mapping[str, Any]) -> Measurement:
    try:
        value = float(item["value"])
    except OverflowError:
        value = math.inf
    unit = item.get("unit", "")
    if not math.isfinite(value):
        raise refusal("a value of the answer is no number")
    if not is_ucum(unit):
        raise refusal("a number of the answer has no unit of UCUM")
    if "probability" in item:
        raise refusal("a number of the answer has a probability: a measurement has none")
    return Measurement(
        code=_coding(item), value=value, unit=unit, unit_display=words(item.get("unit_display") or unit, 32),
        body_site=_maybe(item.get("bodySite")), method=", ".join(filter(None, (_words(item, "method"), _words(item, "words")))),
        laterality=_maybe(item.get("laterality")), images=_images(item), outlines=_outlines(item),
        tracking_uid=item.get("tracking_uid", ""),
    )  # fmt: skip


def _finding(item: Mapping[str, Any]) -> Finding:
    value = item.get("value")
    coded = {True: PRESENT, False: ABSENT}[value] if isinstance(value, bool) else _maybe(value)
    if "unit" in item or "method" in item:
        raise refusal("a finding of the answer has a unit or a method but no number")
    if coded is None and not item.get("words") and "probability" not in item:
        raise refusal("a finding of the answer says neither a value nor words")
    return Finding(
        code=_coding(item), value=coded, probability=_share(item), body_site=_maybe(item.get("bodySite")),
        laterality=_maybe(item.get("laterality")), images=_images(item), outlines=_outlines(item), words=_words(item, "words"),
        tracking_uid=item.get("tracking_uid", ""),
    )  # fmt: skip


def _share(item: Mapping[str, Any]) -> float | None:
    share = item.get("probability")
    if share is not None and not math.isfinite(share):
        raise refusal("a probability of the answer is no number")
    return None if share is None else float(share)


def _coding(item: Mapping[str, Any]) -> Coding:
    code = words(item["code"], 64)
    return Coding(system=words(item["system"], 200), code=code, display=words(item.get("display") or code, 200))


def _maybe(item: Mapping[str, Any] | None) -> Coding | None:
    return _coding(item) if item else None


def _words(item: Mapping[str, Any], name: str) -> str:
    return words(item.get(name, ""), 1_000)


def _images(item: Mapping[str, Any]) -> tuple[ImageRef, ...]:
    return tuple(
        ImageRef(sop_uid=ref) if isinstance(ref, str) else ImageRef(sop_uid=ref["sop_uid"], frames=tuple(ref.get("frames", ())))
        for ref in item.get("sop_refs") or ()
    )


LEAST = {"POLYLINE": 2, "CIRCLE": 2, "ELLIPSE": 4}


def _outlines(item: Mapping[str, Any]) -> tuple[Outline, ...]:
    found = []
    for one in item.get("outlines") or ():
        points = tuple((float(x), float(y)) for x, y in one["points"])
        if len(points) < LEAST.get(one["graphic"], 1) or not all(math.isfinite(part) for pair in points for part in pair):
            raise refusal("a region of the answer has no shape")
        frames = (one["frame"],) if "frame" in one else ()
        found.append(Outline(image=ImageRef(sop_uid=one["sop_uid"], frames=frames), graphic=one["graphic"], points=points))
    return tuple(found)


