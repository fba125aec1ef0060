"""Another hospital's resources cannot be reached: by id, search, include, cursor, SQL or partition."""

import pytest
from django.db import connection, connections
from django.db.utils import DatabaseError

from fhirapi.store import resources_put
from tests.fhirapi.conftest import Fhir, patient_resource

pytestmark = pytest.mark.database

TABLES = ("fhir_resource", "fhir_posting", "fhir_ref", "fhir_date", "fhir_quantity", "fhir_string", "fhir_history")


def observation(fhir_id: str, patient: str) -> dict[str, object]:
    return {
        "resourceType": "Observation", "id": fhir_id, "status": "final", "code": {"coding": [{"code": "c"}]},
        "subject": {"reference": f"Patient/{patient}"}, "effectiveDateTime": "2026-01-01", "valueQuantity": {"value": 1},
    }  # fmt: skip


def report(fhir_id: str, patient: str, *results: str) -> dict[str, object]:
    shared = {name: value for name, value in observation(fhir_id, patient).items() if name != "valueQuantity"}
    return shared | {
        "resourceType": "DiagnosticReport",
        "result": [{"reference": f"Observation/{result}"} for result in results],
    }


@pytest.fixture
def olafs(olaf) -> Fhir:
    with olaf.scope():
        resources_put(resources=[patient_resource("po"), observation("oo", "po"), report("ro", "po", "oo")])
        resources_put(resources=[patient_resource("po", active=True)])
    return Fhir(olaf)


def test_ids_of_the_other_hospital_answer_404(fhir: Fhir, olafs: Fhir) -> None:
    """ "Foreign ids answer 404" (DESIGN section 4)."""
    for path in ("Patient/po", "Observation/oo", "DiagnosticReport/ro"):
        assert olafs.get(path).status_code == 200
        assert fhir.get(path).status_code == 404


def test_a_token_of_the_other_hospital_answers_404(mercy, olafs: Fhir) -> None:
    """A key opens its own hospital's doors; to it the others do not exist."""
    response = olafs.client.get(f"/t/{mercy.slug}/fhir/r4/Patient", headers=olafs.hospital.auth)
    assert response.status_code == 404
    assert response.json()["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize(
    "query",
    [
        "Patient", "Patient?_id=po", "Patient?identifier=MRN-po", "Patient?identifier=urn:oid:1.2.3|MRN-po",
        "Observation?patient=po", "Observation?code=c", "DiagnosticReport?result=Observation/oo", "DiagnosticReport?_sort=_lastUpdated",
    ],
)  # fmt: skip
def test_searches_find_nothing_of_the_other_hospital(fhir: Fhir, olafs: Fhir, query: str) -> None:
    """Every way of driving a search stays inside the wall."""
    rtype, _, query = query.partition("?")
    assert len(olafs.ids(rtype, query)) == 1
    assert fhir.ids(rtype, query) == []
    assert fhir.search(rtype, f"{query}&_summary=count")["total"] == 0


def test_the_same_id_in_two_hospitals_is_two_resources(mercy, fhir: Fhir, olafs: Fhir) -> None:
    """Ids are a hospital's own: writing one leaves the other as it is."""
    with mercy.scope():
        assert resources_put(resources=[patient_resource("po", gender="male")])[0].version == 1
    assert fhir.get("Patient/po").json()["gender"] == "male"
    assert olafs.get("Patient/po").json()["gender"] == "female"


def test_an_include_does_not_reach_over_the_wall(mercy, fhir: Fhir, olafs: Fhir) -> None:
    """A reference to an id that only the other hospital has includes nothing."""
    with mercy.scope():
        resources_put(resources=[report("rm", "po", "oo")])
    include = "_include=DiagnosticReport:result&_include=DiagnosticReport:subject"
    assert sorted(olafs.ids("DiagnosticReport", include, mode="include")) == ["oo", "po"]
    assert fhir.ids("DiagnosticReport", include) == ["rm"]
    assert fhir.ids("DiagnosticReport", include, mode="include") == []


REACHING = {
    "Observation?patient.identifier=MRN-po": "oo o2",
    "Observation?subject:Patient.gender=female": "oo o2",
    "Observation?patient.gender:missing=false": "oo o2",
    "Patient?_has:Observation:patient:code=c": "po",
    "Patient?_has:DiagnosticReport:patient:result.code=c": "po",
    "DiagnosticReport?result.value-quantity=1": "ro",
    "DiagnosticReport?_has:Provenance:target:agent=Device/d": "",
    "Patient?_list=lo": "po",
    "Patient/po/Observation": "oo o2",
    "?_type=Patient,List": "po lo",
    "Observation?date=2026-01-01&value-quantity=1": "oo o2",
    "Observation?status:not=amended": "oo o2",
    "Patient?name:missing=true&_sort=family": "po",
}  # search -> what the other hospital finds


def test_no_condition_reaches_over_the_wall(mercy, olaf, fhir: Fhir, olafs: Fhir) -> None:
    """ "tenant crossing on include, chain, `_has`, `_list`: 404 or nothing", even where one's own resources name the other's ids."""
    entry = [{"item": {"reference": "Patient/po"}}]
    watched = {"resourceType": "List", "id": "lo", "status": "current", "mode": "working", "entry": entry}
    with olaf.scope():
        resources_put(resources=[watched, observation("o2", "po")])
    with mercy.scope():
        # The same references without the patient, and a patient without what they refer to.
        resources_put(resources=[observation("om", "po"), report("rm", "po", "oo")])
    for search, expected in REACHING.items():
        theirs = olafs.get(search).json()
        found = sorted(e["resource"]["id"] for e in theirs.get("entry", []))
        assert found == sorted(expected.split()), search
        ours = fhir.get(search)
        assert ours.status_code == 200
        names = {e["resource"]["id"] for e in ours.json().get("entry", [])}
        assert names <= {"om", "rm"}, (search, names)
    for search in ("Observation?patient.identifier=MRN-po", "Observation?patient.gender=female", "DiagnosticReport?result.code=c",
                   "Patient?_has:Observation:patient:code=c", "Patient?_list=lo", "?_type=Patient,List"):  # fmt: skip
        assert "entry" not in fhir.get(search).json(), search
    for include in ("Observation?_include=*&_include:iterate=*", "DiagnosticReport?_include:iterate=*"):
        assert {e["search"]["mode"] for e in fhir.get(include).json()["entry"]} == {"match"}
    assert "entry" not in fhir.get("Patient?_id=po&_revinclude=Observation:subject").json()


def test_a_cursor_of_the_other_hospital_is_refused(mercy, olaf, fhir: Fhir, olafs: Fhir) -> None:
    """ "a forged or foreign cursor is 400"."""
    for hospital in (mercy, olaf):
        with hospital.scope():
            resources_put(resources=[patient_resource(f"n{number}") for number in range(3)])
    foreign = next(link["url"] for link in olafs.search("Patient", "_count=1")["link"] if link["relation"] == "next")
    assert olafs.get(foreign).status_code == 200
    assert fhir.get(foreign.replace(olafs.base, fhir.base)).status_code == 400


@pytest.mark.parametrize("table", TABLES)
def test_raw_sql_sees_its_own_hospital_only(mercy, olafs: Fhir, table: str) -> None:
    """Row level security below every query, and an unset hospital raises."""
    with mercy.scope():
        resources_put(resources=[patient_resource("pm"), observation("om", "pm"), report("rm", "pm", "om")])
        resources_put(resources=[patient_resource("pm", active=True)])
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT DISTINCT tenant_id FROM {table}")
            assert cursor.fetchall() == [(mercy.tenant.id,)]
            cursor.execute(f"DELETE FROM {table} WHERE tenant_id = %s", [olafs.hospital.tenant.id])
            assert cursor.rowcount == 0
    with connection.cursor() as cursor, pytest.raises(DatabaseError):
        cursor.execute(f"SELECT count(*) FROM {table}")


def test_a_row_for_the_other_hospital_cannot_be_written(mercy, olaf) -> None:
    """WITH CHECK: the tenant id of a new row is the scope's, whatever the statement says."""
    with pytest.raises(DatabaseError), mercy.scope(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO fhir_posting VALUES (%s, 1, now(), 1)", [olaf.tenant.id])


@pytest.mark.parametrize("table", TABLES)
def test_partitions_are_no_way_round_the_wall(mercy, olafs: Fhir, table: str) -> None:
    """ "direct access to a partition must not get round the wall": no grant for the app, a policy even for the owner."""
    with mercy.scope():
        resources_put(resources=[patient_resource("pm"), observation("om", "pm"), report("rm", "pm", "om")])
        resources_put(resources=[patient_resource("pm", active=True)])
    for number in range(8):
        with pytest.raises(DatabaseError, match="permission denied"), mercy.scope(), connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}_{number}")
    seen = set()
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT set_config('app.tenant', %s, false)", [str(mercy.tenant.id)])
        try:
            for number in range(8):
                cursor.execute(f"SELECT DISTINCT tenant_id FROM {table}_{number}")
                seen.update(cursor.fetchall())
        finally:
            cursor.execute("SELECT set_config('app.tenant', '', false)")
    assert seen == {(mercy.tenant.id,)}


def test_every_table_of_ours_is_behind_the_wall() -> None:
    """ENABLEd and FORCEd with the tenant policy on each parent and each of its eight partitions; grants on parents alone."""
    with connections["owner"].cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity, "
            "(SELECT count(*) FROM pg_policies p WHERE p.tablename = c.relname AND p.qual LIKE '%%app.tenant%%' "
            "  AND p.with_check LIKE '%%app.tenant%%'), has_table_privilege('medhub_app', c.oid, 'SELECT, INSERT, UPDATE, DELETE') "
            "FROM pg_class c WHERE c.relname LIKE 'fhir\\_%%' AND c.relkind IN ('r', 'p')"
        )
        found = {name: (walled, policies, granted) for name, walled, policies, granted in cursor.fetchall()}
    parents = {table: (True, 1, True) for table in TABLES}
    partitions = {f"{table}_{number}": (True, 1, False) for table in TABLES for number in range(8)}
    assert found == parents | partitions
