"""`manage.py fhir_reindex`: what was indexed by an older build is found again, in batches that can be taken up."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from fhirapi.index.reindex import resources_reindex
from fhirapi.store import resources_put
from tests.conftest import Hospital
from tests.fhirapi.conftest import Fhir
from tests.fhirapi.test_search_cases import CASES, WORLD

TABLES = ("fhir_posting", "fhir_ref", "fhir_date", "fhir_quantity", "fhir_string")


def rows(hospital: Hospital) -> dict[str, list[object]]:
    found = {}
    with hospital.scope(), connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT {table}::text FROM {table} ORDER BY 1")
            found[table] = cursor.fetchall()
        cursor.execute(
            "SELECT rid, version, last_updated, patient, sort_date, tok, indexed, content FROM fhir_resource ORDER BY rid"
        )
        found["fhir_resource"] = cursor.fetchall()
    return found


def test_a_reindex_makes_the_index_of_the_texts(mercy: Hospital, fhir: Fhir) -> None:
    """ "re-indexes stored text when definitions changed (batches, resumable)": versions, times and texts stay."""
    with mercy.scope():
        resources_put(resources=WORLD)
    before = rows(mercy)
    with mercy.scope(), connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table}")
        cursor.execute("UPDATE fhir_resource SET tok = '{1,3}', indexed = '', patient = NULL, sort_date = '1999-01-01'")
    assert fhir.ids("Patient", "family=smith") == []
    with mercy.scope():
        first = resources_reindex(after=0, limit=7)
    assert (first.seen, first.changed) == (7, 7)
    said = StringIO()
    call_command("fhir_reindex", hospital=mercy.slug, after=first.last, stdout=said)
    assert f"{len(WORLD) - 7} resources, {len(WORLD) - 7} indexed again" in said.getvalue()
    assert rows(mercy) == before
    for search in list(CASES)[::20]:
        rtype, _, query = search.partition("?")
        assert sorted(fhir.ids(rtype, query.replace("|", "%7C"))) == sorted(CASES[search].split()), search
    again = StringIO()
    call_command("fhir_reindex", hospital=mercy.slug, stdout=again)
    assert f"{len(WORLD)} resources, 0 indexed again" in again.getvalue()
    with pytest.raises(CommandError):
        call_command("fhir_reindex", hospital="nobody")


def test_what_a_migration_emptied_is_filled(mercy: Hospital, olaf: Hospital, fhir: Fhir) -> None:
    """The upgrade finds by itself which hospitals have no index, and leaves the others alone."""
    for hospital in (mercy, olaf):
        with hospital.scope():
            resources_put(resources=WORLD[:4])
    with mercy.scope(), connection.cursor() as cursor:
        for table in ("fhir_posting", "fhir_ref"):
            cursor.execute(f"DELETE FROM {table} WHERE tenant_id = %s", [mercy.tenant.id])
        cursor.execute("UPDATE fhir_resource SET indexed = '', tok = '{}' WHERE tenant_id = %s", [mercy.tenant.id])
    assert not fhir.ids("Patient", "identifier=urn:mrn|123")
    said = StringIO()
    call_command("fhir_reindex", missing=True, stdout=said)
    assert said.getvalue().splitlines()[-1] == "4 resources, 4 indexed again"
    assert len(fhir.ids("Patient", "identifier=urn:mrn|123")) == 1


def test_an_update_touches_what_changed_only(mercy: Hospital) -> None:
    """Rows of the index are written by difference: a new name leaves dates, references and telecoms as they are."""
    jane = next(one for one in WORLD if one["id"] == "jane")

    def versions() -> dict[str, set[tuple[str, str]]]:
        found = {}
        with mercy.scope(), connection.cursor() as cursor:
            for table in TABLES:
                cursor.execute(f"SELECT {table}::text, xmin::text FROM {table}")
                found[table] = set(cursor.fetchall())
        return found

    with mercy.scope():
        resources_put(resources=[jane])
    before = versions()
    with mercy.scope():
        resources_put(resources=[jane | {"name": [{"family": "Other"}]}])
    after = versions()
    for table in ("fhir_posting", "fhir_ref", "fhir_date", "fhir_quantity"):
        assert after[table] == before[table], table
    assert before["fhir_string"] & after["fhir_string"]
    assert before["fhir_string"] != after["fhir_string"]
    with mercy.scope():
        resources_put(resources=[jane | {"name": [{"family": "Other"}], "birthDate": "1971"}])
    last = versions()
    assert len(last["fhir_date"] - after["fhir_date"]) == 1
    assert last["fhir_string"] == after["fhir_string"]
