"""JSON Patch and FHIRPath Patch. Views and transactions call `patches`."""
