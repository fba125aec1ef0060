"""Who made an AI result, of what -> Provenance: the Device on behalf of its maker, from the pixels of one study; and who decided since."""

from uuid import UUID

from ai.review.reasons import reason_words
from fhirapi.resources.device import device_id
from fhirapi.resources.labels import AiLabel
from fhirapi.resources.organization import organization_id
from fhirapi.resources.parts import OURS, TERMINOLOGY, Json, coding, concept, filled, id_of, reference, text_of
from fhirapi.resources.practitioner import practitioner_id
from fhirapi.sources import ReportRow, VerdictRow
from fhirapi.store import instant

CREATE = concept(coding(f"{TERMINOLOGY}/v3-DataOperation", "CREATE", "create"))
LIFECYCLE = f"{TERMINOLOGY}/iso-21089-lifecycle"
VERIFIER = ("verifier", "Verifier")
STEPS = {
    "accept": (("verify", "Verify Record Lifecycle Event"), VERIFIER),
    "correct": (("amend", "Amend (Update) Record Lifecycle Event"), ("author", "Author")),
    "reject": (("deprecate", "Deprecate Record Lifecycle Event"), VERIFIER),
    "undo": (("restore", "Restore Record Lifecycle Event"), VERIFIER),
}
AUTHOR = concept(coding(f"{TERMINOLOGY}/provenance-participant-type", "author", "Author"))


def to_fhir(*, report: ReportRow, label: AiLabel, targets: list[Json]) -> Json:
    algorithm = report.content.algorithm
    return {
        "resourceType": "Provenance",
        "id": id_of(report.uuid, "provenance"),
        "meta": label.meta,
        "target": [reference(target["resourceType"], target["id"]) for target in targets],
        "recorded": instant(report.machine_at or report.issued_at),
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


def reviews_to_fhir(*, report: ReportRow, label: AiLabel, hospital: UUID, main: Json) -> list[Json]:
    """One a step that a person took, also of those that were taken back."""
    return [_review(report, label, hospital, main, verdict) for verdict in report.verdicts]


def _review(report: ReportRow, label: AiLabel, hospital: UUID, main: Json, verdict: VerdictRow) -> Json:
    activity, part = STEPS[verdict.action]
    reason = ": ".join(filter(None, (reason_words(action=verdict.action, code=verdict.reason), text_of(verdict.words))))
    return filled({
        "resourceType": "Provenance",
        "id": id_of(report.uuid, "review", verdict.version),
        "meta": label.meta,
        "target": [reference(main["resourceType"], main["id"])],
        "recorded": instant(verdict.at),
        "activity": concept(coding(LIFECYCLE, *activity)),
        "reason": [concept(text=reason)] if reason else [],
        "agent": [
            {
                "type": concept(coding(f"{TERMINOLOGY}/provenance-participant-type", *part)),
                "who": reference("Practitioner", practitioner_id(hospital=hospital, by_id=verdict.by_id))
                | {"display": text_of(verdict.by_name)},
            }
        ],
    })  # fmt: skip


def _sources(report: ReportRow) -> list[Json]:
    """The study, and the exact input where it was read: which images, and the hash of their pixels."""
    content = report.content
    study = reference("ImagingStudy", report.study.uuid)
    if not content.input_sha256:
        return [study]
    shown = f"{len(content.sop_uids)} images" + (f" of series {content.series_uid}" if content.series_uid else "")
    pixels = {"identifier": {"system": f"{OURS}/sid/input-sha256", "value": content.input_sha256}, "display": shown}
    return [study, filled(pixels)]
