"""Tests of quantify/ and sandbox/phantoms; no Django, no database."""
