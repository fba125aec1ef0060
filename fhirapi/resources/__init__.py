"""Pure `to_fhir` functions, one module per resource type: rows in, plain FHIR R4 data out. The projections call them."""
