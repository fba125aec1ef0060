"""MedHub Quantify: our built-in algorithms, a process of its own, reached like any other platform by its HTTP job interface."""

from collections.abc import Mapping
from typing import Any

import fastjsonschema

from ai.cards import AlgorithmCard, Card, Performance, Source
from ai.contract import Handle, Mask, Payload, Platform, PlatformError, Ways
from ai.findings import Algorithm, Answer, Coding, Measurement, Note, Parameter, Region
from ai.volume.bits import SHAPE, bits_read
from ai.wires import inference_job
from ai.wires.replies import object_read
from ai.wires.structures import ANATOMY

NO_DEVICE = "none: not a medical device"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
PAGE = Source(title="MedHub Quantify", url="docs/quantify.md")
VERSION = ("1.0.0",)
NO_PATIENTS = "not validated on patients"


def _phantoms(value: str) -> tuple[Performance, ...]:
    return (Performance(what="on phantoms with known answers", value=value, source=PAGE),)


LUNG_DENSITY = AlgorithmCard(
    name="lung-density-mask",
    title="Lung density mask",
    modalities=frozenset({"CT"}),
    body_parts=frozenset({"CHEST", "THORAX", "LUNG"}),
    role="quantification",
    clearance=NO_DEVICE,
    min_instances=20,
    findings=("lung volume, share of it below -950 HU (%LAA-950), 15th percentile (Perc15)",),
    intended_use="Numbers of the lungs' density in CT without contrast, for evaluation.",
    out_of_scope="any diagnosis; scans with contrast, one lung, lungs cut by the field of view, children under 1 L",
    performance=_phantoms("volume and %LAA-950 within 1 %, Perc15 within 1 HU"),
    versions=VERSION,
    limits=f"{NO_PATIENTS} beyond one series looked at by eye; a sharp kernel or a low dose raises %LAA-950",
)
CALCIUM = AlgorithmCard(
    name="calcium-agatston-like",
    title="Agatston-like calcium score",
    modalities=frozenset({"CT"}),
    body_parts=frozenset({"CHEST", "THORAX", "LUNG", "HEART", "CARDIAC", "CORONARY"}),
    role="quantification",
    clearance=NO_DEVICE,
    min_instances=30,
    max_slice_spacing_mm=3.0,
    is_contrast=False,
    sop_classes=frozenset({CT_IMAGE}),
    orientations=frozenset({"AXIAL"}),
    findings=("calcium between the lungs, as an Agatston-like score and a volume",),
    intended_use="A number of dense foci in the thick tissue between the lungs, for evaluation.",
    out_of_scope="comparison with Agatston scores or their percentiles: ungated, coronary arteries, valves and aorta are not told apart",
    performance=_phantoms("score and volume within 1 %"),
    versions=VERSION,
    limits=f"{NO_PATIENTS}: run on one series, which nobody scored by hand",
)
HYPERDENSITY = AlgorithmCard(
    name="hyperdense-volume",
    title="Volume of hyperdensity inside the skull",
    modalities=frozenset({"CT"}),
    body_parts=frozenset({"HEAD", "BRAIN", "SKULL"}),
    role="quantification",
    clearance=NO_DEVICE,
    min_instances=20,
    max_slice_spacing_mm=5.0,
    is_contrast=False,
    sop_classes=frozenset({CT_IMAGE}),
    findings=("volume and mean attenuation of what has 50 to 100 HU inside the skull",),
    intended_use="A volume of voxels by their HU, for evaluation.",
    out_of_scope="saying what is dense: calcification, dense veins and artefacts count too, thin layers along the skull are missed",
    performance=_phantoms("volume and mean attenuation within 1 %"),
    versions=VERSION,
    limits=f"{NO_PATIENTS}: the one real head CT that we have is refused for its uneven slices",
)
BREAST_DENSITY = AlgorithmCard(
    name="breast-percent-density",
    title="Breast percent density",
    modalities=frozenset({"MG"}),
    body_parts=frozenset({"BREAST"}),
    role="quantification",
    clearance=NO_DEVICE,
    sop_classes=frozenset({"1.2.840.10008.5.1.4.1.1.1.2", "1.2.840.10008.5.1.4.1.1.1.2.1"}),
    findings=("share of the breast's area above one threshold",),
    intended_use="A share of area of one CC or MLO view, the pectoral muscle removed, for evaluation.",
    out_of_scope="density categories, which only a reader gives; implants, partial views, tomosynthesis; images of one grey peak",
    performance=_phantoms("percent density within 1 %"),
    versions=VERSION,
    limits=f"{NO_PATIENTS}: it has not yielded a number on a real mammogram yet",
)
VESSEL_INDEX = AlgorithmCard(
    name="fundus-vessel-index",
    title="Relative vessel index of the fundus",
    modalities=frozenset({"OP"}),
    body_parts=frozenset({"EYE", "RETINA"}),
    role="quantification",
    clearance=NO_DEVICE,
    sop_classes=frozenset({"1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.2"}),
    findings=("share of the field that vessels cover, as a relative index",),
    intended_use="An index of one colour fundus photograph, for evaluation of like with like.",
    out_of_scope="photographs of different cameras or fields side by side: the thinnest vessels are missed, blurred ones count wider; "
    "any finding of disease",
    performance=(
        Performance(what="on drawn vessels of three working pixels or more, sharp ones", value="within 1 %", source=PAGE),
    ),
    versions=("1.1.0",),
    limits=f"{NO_PATIENTS}: looked at on one photograph",
)
BRAIN = AlgorithmCard(
    name="brain-volume",
    title="Brain volume",
    modalities=frozenset({"MR"}),
    body_parts=frozenset({"HEAD", "BRAIN", "SKULL"}),
    role="quantification",
    clearance=NO_DEVICE,
    min_instances=80,
    max_slice_spacing_mm=1.5,
    is_contrast=False,
    sop_classes=frozenset({"1.2.840.10008.5.1.4.1.1.4"}),
    findings=("volume and mask of the brain with its fluid",),
    intended_use="A volume and an outline from a 3D T1 series, for evaluation.",
    out_of_scope="normal ranges, atrophy, parts of the brain; anything where its optional network is not installed",
    versions=VERSION,
    limits=f"{NO_PATIENTS}: tried on the MNI152 template; it needs an optional network",
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
        "mask": {**SHAPE, "properties": {**SHAPE["properties"], "site": CODING}},
    },
}
_check = fastjsonschema.compile(SCHEMA)


class MedHubQuantify(Platform):
    wire = "inference"
    deidentification = "none"
    card = Card(
        slug="medhub-quantify",
        name="MedHub Quantify",
        vendor="MedHub",
        kind="built-in",
        summary="Computes from pixels on our own machines. Numbers with their method, no diagnosis. Not a medical device.",
        algorithms=(LUNG_DENSITY, CALCIUM, HYPERDENSITY, BREAST_DENSITY, VESSEL_INDEX, BRAIN),
        source="docs/quantify.md",
        limits="Brain volume needs an optional network (docs/quantify.md); where it is not installed it answers not analysable, "
        "and the connection check says so.",
        sources=(PAGE,),
        is_in_house=True,
        residence="here",
    )

    def send(self, handle: Handle, settings: Mapping[str, str], ways: Ways) -> str:
        return inference_job.job_post(
            handle, base_url=settings["base_url"], headers=self._headers(settings), http=ways.http, is_masked=True
        )

    def poll(self, remote_id: str, handle: Handle, settings: Mapping[str, str], ways: Ways) -> Payload | None:
        answer = inference_job.job_get(
            remote_id, base_url=settings["base_url"], headers=self._headers(settings), http=ways.http
        )
        if answer is None:
            return None
        if answer.get("status") == "failed":
            raise PlatformError("the computation failed", is_permanent=True)
        return Payload(kind="json", data=answer)

    def parse(self, payload: Payload, algorithm: str) -> Answer:
        said = payload.data
        try:
            _check(said)
        except fastjsonschema.JsonSchemaValueException as error:
            raise PlatformError(f"the answer's shape is wrong at {error.name[:80]}", is_permanent=True) from error
        source = said["input"]
        reason = said.get("reason") or {"code": "unstated", "text": "no reason given"}
        return Answer(
            algorithm=Algorithm(**{name: said["algorithm"][name] for name in ("name", "version", "manufacturer")}),
            study_uid=source["study_uid"],
            series_uid=source["series_uid"],
            sop_uids=tuple(source["sop_uids"]),
            input_sha256=source.get("sha256") or "",
            measurements=tuple(_measurement(item) for item in said.get("measurements") or ()),
            not_analysable=Note(code=reason["code"], text=reason["text"]) if said["status"] == "not_analysable" else None,
            notes=tuple(Note(code=item["code"], text=item["text"]) for item in said.get("notes") or ()),
            regions=_regions(said),
        )

    def mask(self, payload: Payload, answer: Answer) -> Mask:
        return bits_read(payload.data["mask"])

    def check(self, settings: Mapping[str, str], ways: Ways) -> str:
        status, _, body = ways.http.request("GET", f"{settings['base_url']}/healthz", headers={})
        if status != 200:
            raise PlatformError(f"MedHub Quantify answered {status}", is_permanent=False)
        absent = sorted(str(one.get("name")) for one in object_read(body).get("not_installed") or () if isinstance(one, dict))
        known = [card.name for card in self.card.algorithms if card.name in absent]
        return "MedHub Quantify is up" + (f"; not installed: {', '.join(known)}" if known else "")

    def _headers(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {"Authorization": f"Bearer {settings['api_key']}"}


def _regions(said: Mapping[str, Any]) -> tuple[Region, ...]:
    """What was measured, as one segment; its voxels come with `mask`."""
    mask = said.get("mask") if said["status"] == "done" else None
    if mask is None:
        return ()
    return (Region(sop_uid="", segment_number=1, label=mask["label"], category=ANATOMY, type=_coding(mask["site"])),)


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
