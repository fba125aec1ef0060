"""Platforms, connections, jobs, reports and deliveries under `/t/<slug>/api/v1`: JSON, errors as problem details (RFC 9457)."""
