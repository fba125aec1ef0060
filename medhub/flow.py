"""THE MAP: which event calls whom. Dotted paths, so nobody imports upwards; journal.outbox delivers each pair on its own."""

FLOW: dict[str, tuple[str, ...]] = {
    "study.completed": (
        "fhirapi.projections.imaging_study_project",
        "ai.routing.live.study_route",
        "ai.routing.live.prior_route",
        "imaging.transfers.priors.priors_pull",
        "imaging.matching.study_order_match",
    ),
    "study.changed": ("fhirapi.projections.imaging_study_project", "fhirapi.projections.study_dependents_project"),
    "derived.received": ("fhirapi.projections.imaging_study_project",),
    "job.changed": ("fhirapi.projections.job_project",),
    "result.received": ("ai.reports.report_issue", "ai.routing.live.result_route"),
    "report.issued": ("fhirapi.projections.diagnostic_report_project", "ai.delivery.services.report_deliver"),
    "report.flagged": ("fhirapi.projections.diagnostic_report_project",),
    "order.changed": ("fhirapi.projections.order_project", "imaging.matching.order_studies_match"),
    "patient.merged": ("fhirapi.projections.patient_merge_project",),
    "audit.sealed": ("fhirapi.audit_events.audit_events_project",),
}

# HL7 v2: type and event -> who takes the message (imaging/hl7/messages.py).
MESSAGES: dict[str, str] = {
    "ORM^O01": "imaging.hl7.orders.order_message_take",
    "OMI^O23": "imaging.hl7.orders.order_message_take",
    "ADT^A01": "fhirapi.adt.patient_message_take",
    "ADT^A04": "fhirapi.adt.patient_message_take",
    "ADT^A08": "fhirapi.adt.patient_message_take",
    "ADT^A31": "fhirapi.adt.patient_message_take",
    "ORU^R01": "ai.oru.result_message_take",
    "ADT^A40": "imaging.hl7.merges.merge_message_take",
}

# Subscribers that take many events at once: a hundred small studies arriving are not a hundred times the same statements.
GATHERED: dict[str, str] = {
    "fhirapi.projections.imaging_study_project": "fhirapi.projections.imaging_studies_project",
    "fhirapi.projections.study_dependents_project": "fhirapi.projections.studies_dependents_project",
    "fhirapi.projections.job_project": "fhirapi.projections.jobs_project",
    "imaging.matching.study_order_match": "imaging.matching.studies_order_match",
}
