"""Issued reports to the hospital's own FHIR server: `pushes` are the rows, `transaction` builds, `run` sends, `servers` configures."""
