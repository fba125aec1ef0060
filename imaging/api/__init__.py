"""`/t/<slug>/api/v1`: what the pages configure, for those who automate. JSON in and out, errors as problem details (RFC 9457)."""
