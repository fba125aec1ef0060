"""Subscriptions (FHIR R4, and HL7's R5 backport 1.1.0): `asking` reads them, `matching` notes events with the write, `run` tells."""
