"""The content types that come in and go out, and the XML side of the house where it is there."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

FHIR_JSON = "application/fhir+json"
FHIR_XML = "application/fhir+xml"
JSON_PATCH = "application/json-patch+json"
JSON_TYPES = {FHIR_JSON, "application/json", "text/json", "application/json+fhir"}
XML_TYPES = {FHIR_XML, "application/xml", "text/xml", "application/xml+fhir"}

# The converter is a module of its own; without it XML is 415 on its way in and 406 on its way out.
xmlformat: Any = import_module("fhirapi.xmlformat") if find_spec("fhirapi.xmlformat") else None
SERVED = [FHIR_JSON, FHIR_XML] if xmlformat else [FHIR_JSON]
FORMAT_NAMES = [*SERVED, *(media.rpartition("+")[2] for media in SERVED)]
