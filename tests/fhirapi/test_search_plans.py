"""The hot searches use their indexes behind the wall, as the role of production: EXPLAIN says so, and statements are counted."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from fhirapi.search import pages as search
from fhirapi.search.pages import resource_search
from fhirapi.search.query import query_parse
from fhirapi.store import resources_put
from tests.conftest import Hospital
from tests.fhirapi.conftest import Fhir
from tests.fhirapi.test_search_cases import concept, kilos, observation, patient

pytestmark = pytest.mark.database
BASE = "http://testserver/t/x/fhir/r4"

# search -> the index condition that must drive it
HOT = {
    "Observation?patient=p7&category=c&_sort=-date": "patient = 'p7'",
    "Observation?identifier=urn:o|7": "hv = ANY",
    "Observation?subject=Patient/p7": "patient = 'p7'",
    "Observation?subject=p7": "hv = ANY",
    "Observation?performer=org": "hv = ANY",
    "Observation?date=2026-01-07": "lo >= '2026-01-07",
    "Observation?date=ge2026-01-27": "sort_date > '2026-01-23",  # the list of the type, bounded
    "Observation?value-quantity=gt95||kg": "lo > '95'",
    "Observation?value-quantity=60": "lo >= '59.5'",
    "Patient?name=fam7": "norm >= 'fam7'",
    "Patient?family:exact=Fam7": "norm = 'fam7'",
    "Observation?patient.name=fam7": "norm >= 'fam7'",
    "Observation?patient.identifier=urn:p|7": "target_id",
    "Patient?_has:Observation:patient:identifier=urn:o|7": "hv = ANY",
    "Patient?_id=p7": "fhir_id = ANY",
}


@pytest.fixture
def crowd(mercy: Hospital) -> Hospital:
    people = [
        patient(f"p{n}", name=[{"family": f"Fam{n}"}], identifier=[{"system": "urn:p", "value": str(n)}]) for n in range(150)
    ]
    findings = [
        observation(
            f"o{n}", f"p{n % 150}", "29463-7", f"2026-01-{1 + n % 28:02d}T10:00:00Z", **kilos(40 + n % 60), category=[concept("c")],
            identifier=[{"system": "urn:o", "value": str(n)}], performer=[{"reference": "Organization/org"}] if n % 100 == 0 else [],
        )
        for n in range(1500)
    ]  # fmt: skip
    with mercy.scope():
        resources_put(resources=people + [{k: v for k, v in one.items() if v != []} for one in findings])
    with connections["owner"].cursor() as cursor:
        cursor.execute("ANALYZE fhir_resource, fhir_posting, fhir_ref, fhir_date, fhir_quantity, fhir_string")
    return mercy


def statements(hospital: Hospital, text: str) -> list[str]:
    rtype, _, query = text.partition("?")
    pairs = [(name, value) for name, _, value in (part.partition("=") for part in query.split("&"))]
    with hospital.scope(), CaptureQueriesContext(connection) as captured:
        parsed = query_parse(
            tenant_id=hospital.tenant.id, rtype=rtype, pairs=pairs, base=BASE, zone=lambda: ZoneInfo("UTC"), is_strict=True
        )
        assert resource_search(query=parsed.query).matches, text
    return [query["sql"] for query in captured if "set_config" not in query["sql"]]


def test_hot_searches_use_index_conditions(crowd: Hospital) -> None:
    """ "EXPLAIN-based test that the listed hot searches use index conditions under RLS with the medhub_app role"."""
    for text, wanted in HOT.items():
        *_, page = statements(crowd, text)
        with crowd.scope(), connection.cursor() as cursor:
            cursor.execute("SELECT current_user, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
            assert cursor.fetchone() == ("medhub_app", False)
            cursor.execute("SET LOCAL enable_seqscan = off")  # a small table is read whole when it may be; is an index able to?
            cursor.execute("EXPLAIN " + page.replace("%", "%%"))
            lines = [line for (line,) in cursor.fetchall()]
        conditions = [line for line in lines if "Index Cond" in line]
        assert any(wanted in line for line in conditions), (text, conditions)
        assert not any("Seq Scan on fhir_" in line for line in lines), (text, lines)


def test_every_scan_names_the_tenant(crowd: Hospital) -> None:
    """Two walls: beside row level security, each table that a search reads is asked for one hospital's rows."""
    for text in HOT:
        for statement in statements(crowd, text):
            with crowd.scope(), connection.cursor() as cursor:
                cursor.execute("EXPLAIN (FORMAT JSON) " + statement.replace("%", "%%"))
                nodes = list(_nodes(cursor.fetchone()[0][0]["Plan"]))
            scans = [node for node in nodes if node.get("Relation Name", "").startswith("fhir_")]
            assert scans
            partitions = {node["Relation Name"].rsplit("_", 1)[1] for node in scans}
            assert len(partitions) == 1, (text, partitions)  # pruned to the hospital's partition of every table


def _nodes(plan: dict[str, Any]) -> Any:
    yield plan
    for below in plan.get("Plans", []):
        yield from _nodes(below)


def test_few_statements(crowd: Hospital) -> None:
    """A page is one statement where one term drives, and one more where it must be chosen."""
    for text in HOT:
        assert len(statements(crowd, text)) <= 2, text
    assert len(statements(crowd, "Observation?patient=p7&category=c&_sort=-date")) == 1
    assert len(statements(crowd, "Observation?category=c&_sort=-date")) == 1


def test_a_walk_stops_when_the_page_is_full(crowd: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    """A common term with a common filter looks at a page's worth of resources, not at all of them."""
    monkeypatch.setattr(search, "LONG", 100)
    *_, page = statements(crowd, "Observation?category=c&status=final&_sort=-date&_count=10")
    with crowd.scope(), connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + page.replace("%", "%%"))
        nodes = list(_nodes(cursor.fetchone()[0][0]["Plan"]))
    looked = [n["Actual Rows"] * n["Actual Loops"] for n in nodes if n.get("Relation Name", "").startswith("fhir_")]
    assert max(looked) <= 20


def test_hash_lists_are_bounded(fhir: Fhir) -> None:
    """Fifty values of a parameter with many targets are still one array."""
    ids = ",".join(f"id{n}" for n in range(50))
    assert fhir.get(f"Provenance?target={ids}").status_code == 200
    assert fhir.get(f"Observation?subject={ids}&performer={ids}&_sort=-date").status_code == 200
