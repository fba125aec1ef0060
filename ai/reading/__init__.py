"""What a platform hands back, read into ai.findings.Answer: DICOM objects, FHIR, the hook's JSON. Called by platforms and wires."""
