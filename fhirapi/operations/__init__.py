"""FHIR's operations beside reading and writing. Views call them."""
