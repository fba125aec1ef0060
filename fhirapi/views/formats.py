"""The content types that come in and go out."""

FHIR_JSON = "application/fhir+json"
FHIR_XML = "application/fhir+xml"
JSON_PATCH = "application/json-patch+json"
JSON_TYPES = {FHIR_JSON, "application/json", "text/json", "application/json+fhir"}
XML_TYPES = {FHIR_XML, "application/xml", "text/xml", "application/xml+fhir"}
SERVED = [FHIR_JSON, FHIR_XML]
FORMAT_NAMES = [*SERVED, *(media.rpartition("+")[2] for media in SERVED)]
