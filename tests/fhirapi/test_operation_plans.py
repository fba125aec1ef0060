"""$everything and $match read what they need by index, of one hospital's partitions, in a constant number of statements."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from fhirapi.operations.everything import EverythingQuery, everything_read
from fhirapi.operations.matching import patients_match
from fhirapi.registry import TYPES
from tests.conftest import Hospital
from tests.fhirapi.test_search_plans import _nodes, crowd  # noqa: F401 a fixture

pytestmark = pytest.mark.database
SOMEBODY = {
    "resourceType": "Patient", "name": [{"family": "Fam7"}], "birthDate": "1970-01-01",
    "identifier": [{"system": "urn:p", "value": "7"}], "telecom": [{"system": "phone", "value": "1"}],
}  # fmt: skip


def everything() -> None:
    found, last = everything_read(query=EverythingQuery(patient="p7", rtypes=tuple(TYPES), count=5))
    assert (len(found), found[0].fhir_id) == (5, "p7")
    assert last is not None


def match() -> None:
    assert [one.document.fhir_id for one in patients_match(patient=SOMEBODY, is_certain_only=False)] == ["p7"]


@pytest.mark.parametrize("operation", [everything, match])
def test_it_reads_by_index(crowd: Hospital, operation: Callable[[], None]) -> None:  # noqa: F811
    """ "candidates by index, never a scan"; "two statements a page" (the other reads the patient)."""
    with crowd.scope(), CaptureQueriesContext(connection) as captured:
        operation()
    statements: list[str] = [query["sql"] for query in captured if "set_config" not in query["sql"]]
    assert len(statements) == 1
    with crowd.scope(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # a small table is read whole when it may be; is an index able to?
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statements[0].replace("%", "%%"))
        nodes: list[dict[str, Any]] = list(_nodes(cursor.fetchone()[0][0]["Plan"]))
    scans = [node for node in nodes if node.get("Relation Name", "").startswith("fhir_")]
    assert not [node for node in scans if node["Node Type"] == "Seq Scan"]
    assert len({node["Relation Name"].rsplit("_", 1)[1] for node in scans}) == 1
    looked = [node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0) for node in scans]
    assert max(looked) <= 60, looked
