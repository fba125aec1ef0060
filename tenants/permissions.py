"""One table: role -> capabilities. Doors ask `is_allowed`; nothing else decides who may do what inside a hospital."""

CAPABILITIES: dict[str, frozenset[str]] = {
    "owner": frozenset({
        "hospital.view", "study.read", "report.read", "fhir.read", "dicom.store", "dicom.read", "dicom.delete", "node.manage",
        "transfer.manage", "delivery.manage", "audit.read", "storage.manage", "workitem.decide", "certificate.manage",
        "query.manage", "fhir.manage", "ups.read", "ai.read", "ai.write", "report.review", "client.manage", "app.open",
    }),
    "admin": frozenset({
        "hospital.view", "study.read", "report.read", "fhir.read", "fhir.write", "dicom.store", "dicom.read", "dicom.delete",
        "node.manage", "transfer.manage", "delivery.manage", "storage.manage", "workitem.decide", "certificate.manage",
        "query.manage", "fhir.manage", "ups.read", "ups.create", "ups.perform", "ups.cancel", "ai.read", "ai.write",
        "report.review", "client.manage", "app.open",
    }),
    "radiologist": frozenset({
        "hospital.view", "study.read", "dicom.read", "report.read", "report.review", "transfer.manage", "ai.read", "fhir.read",
        "app.open",
    }),
    "integrator": frozenset({
        "hospital.view", "fhir.read", "fhir.write", "dicom.store", "dicom.read", "node.manage", "transfer.manage", "delivery.manage",
        "query.manage", "ups.read", "ups.create", "ups.perform", "ups.cancel", "ai.read", "client.manage",
        "app.open",
    }),
    "auditor": frozenset({"hospital.view", "audit.read"}),
    "billing": frozenset({"hospital.view"}),
    # an AI platform that works off our worklist: only what its own connection's jobs hold, de-identified
    "performer": frozenset({"ups.read", "ups.perform", "ups.cancel", "performer.read", "performer.store"}),
}  # fmt: skip


def is_allowed(*, role: str, capability: str) -> bool:
    return capability in CAPABILITIES.get(role, frozenset())
