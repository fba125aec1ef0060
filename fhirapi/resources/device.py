"""The algorithm of a report -> Device, one a version; manufacturer as the result itself says, never another vendor's name."""

from ai.findings import Algorithm
from fhirapi.resources.labels import AiLabel
from fhirapi.resources.parts import DCM, OURS, Json, coding, concept, id_of, text_of


def device_id(*, algorithm: Algorithm) -> str:
    return id_of("device", algorithm.manufacturer, algorithm.name, algorithm.version)


def to_fhir(*, algorithm: Algorithm, label: AiLabel) -> Json:
    name, version = text_of(algorithm.name), text_of(algorithm.version)
    return {
        "resourceType": "Device",
        "id": device_id(algorithm=algorithm),
        "meta": label.meta,
        "identifier": [{"system": f"{OURS}/sid/algorithm", "value": f"{name}/{version}"}],
        "status": "active",
        "manufacturer": text_of(algorithm.manufacturer),
        "deviceName": [{"name": name, "type": "model-name"}],
        "type": {"text": "Image analysis algorithm"},
        "version": [{"value": version}],
        "property": [
            {"type": concept(coding(DCM, code, display)), "valueCode": [{"text": text}]}
            for code, display, text in (("111001", "Algorithm Name", name), ("111003", "Algorithm Version", version))
        ],
        "note": [{"text": "Software that analyses images. Not a medical device."}],
    }
