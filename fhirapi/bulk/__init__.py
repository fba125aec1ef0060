"""Bulk Data export (HL7 FHIR Bulk Data Access STU2): asked for (`asking`), which resources (`members`), read in chunks (`chunks`),
written to files (`files`), step by step under a lease (`run`), and what a client is told of it (`exports`)."""
