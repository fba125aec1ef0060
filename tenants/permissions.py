"""One table: role -> capabilities. Doors ask `is_allowed`; nothing else decides who may do what inside a hospital."""

CAPABILITIES: dict[str, frozenset[str]] = {
    "owner": frozenset({
        "hospital.view", "study.read", "report.read", "fhir.read", "dicom.store", "dicom.read", "dicom.delete", "node.manage",
        "transfer.manage", "delivery.manage", "audit.read", "storage.manage", "workitem.decide", "certificate.manage",
        "query.manage", "fhir.manage",
    }),
    "admin": frozenset({
        "hospital.view", "study.read", "report.read", "fhir.read", "fhir.write", "dicom.store", "dicom.read", "dicom.delete",
        "node.manage", "transfer.manage", "delivery.manage", "storage.manage", "workitem.decide", "certificate.manage",
        "query.manage", "fhir.manage",
    }),
    "radiologist": frozenset({"hospital.view", "study.read", "dicom.read", "report.read", "transfer.manage"}),
    "integrator": frozenset({
        "hospital.view", "fhir.read", "fhir.write", "dicom.store", "dicom.read", "node.manage", "transfer.manage", "delivery.manage",
        "query.manage",
    }),
    "auditor": frozenset({"hospital.view", "audit.read"}),
    "billing": frozenset({"hospital.view"}),
}  # fmt: skip


def is_allowed(*, role: str, capability: str) -> bool:
    return capability in CAPABILITIES.get(role, frozenset())
