"""The two doors to a hospital's images -> Endpoint: DICOMweb for systems, the viewer for people (IHE RAD IID)."""

from uuid import UUID

from fhirapi.resources.parts import DCM, OURS, TERMINOLOGY, Json, coding, concept, filled, id_of, reference, text_of
from fhirapi.sources import HospitalRow

STUDY = concept(coding(DCM, "113014", "Study"))
# kind -> (display, path below the hospital's base, content type)
DOORS = {
    "dicom-wado-rs": ("DICOM WADO-RS", "dicomweb", "application/dicom"),
    "ihe-iid": ("IHE IID", "iid", "text/html"),
}


def endpoint_id(*, hospital: UUID, kind: str) -> str:
    return id_of("endpoint", hospital, kind)


def to_fhir(*, hospital: HospitalRow) -> list[Json]:
    return [
        filled({
            "resourceType": "Endpoint",
            "id": endpoint_id(hospital=hospital.uuid, kind=kind),
            "identifier": [{"system": f"{OURS}/sid/endpoint", "value": f"{hospital.uuid}/{kind}"}],
            "status": "active",
            "connectionType": coding(f"{TERMINOLOGY}/endpoint-connection-type", kind, display),
            "name": text_of(f"{hospital.name} {display}"),
            "payloadType": [STUDY],
            "payloadMimeType": [media],
            "address": f"{hospital.base}/{path}",
        })
        for kind, (display, path, media) in DOORS.items()
    ]  # fmt: skip


def references(*, hospital: UUID) -> list[Json]:
    return [reference("Endpoint", endpoint_id(hospital=hospital, kind=kind)) for kind in DOORS]
