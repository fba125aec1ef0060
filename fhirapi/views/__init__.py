"""The FHIR door: one module per kind of request, mounted by fhirapi.urls."""
