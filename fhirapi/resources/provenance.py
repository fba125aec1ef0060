"""Who made an AI result, of what -> Provenance: the Device on behalf of its maker, from the pixels of one study."""

from fhirapi.resources.device import device_id
from fhirapi.resources.labels import AiLabel
from fhirapi.resources.organization import organization_id
from fhirapi.resources.parts import OURS, TERMINOLOGY, Json, coding, concept, filled, id_of, reference
from fhirapi.sources import ReportRow
from fhirapi.store import instant

CREATE = concept(coding(f"{TERMINOLOGY}/v3-DataOperation", "CREATE", "create"))
AUTHOR = concept(coding(f"{TERMINOLOGY}/provenance-participant-type", "author", "Author"))


def to_fhir(*, report: ReportRow, label: AiLabel, targets: list[Json]) -> Json:
    algorithm = report.content.algorithm
    return {
        "resourceType": "Provenance",
        "id": id_of(report.uuid, "provenance"),
        "meta": label.meta,
        "target": [reference(target["resourceType"], target["id"]) for target in targets],
        "recorded": instant(report.issued_at),
        "activity": CREATE,
        "agent": [
            {
                "type": AUTHOR,
                "who": reference("Device", device_id(algorithm=algorithm)),
                "onBehalfOf": reference("Organization", organization_id(name=algorithm.manufacturer)),
            }
        ],
        "entity": [{"role": "source", "what": what} for what in _sources(report)],
    }


def _sources(report: ReportRow) -> list[Json]:
    """The study, and the exact input where it was read: which images, and the hash of their pixels."""
    content = report.content
    study = reference("ImagingStudy", report.study.uuid)
    if not content.input_sha256:
        return [study]
    shown = f"{len(content.sop_uids)} images" + (f" of series {content.series_uid}" if content.series_uid else "")
    pixels = {"identifier": {"system": f"{OURS}/sid/input-sha256", "value": content.input_sha256}, "display": shown}
    return [study, filled(pixels)]
