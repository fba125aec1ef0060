"""Histories of a resource, a type and the hospital: complete, in order, page by page."""

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from fhir.resources.R4B import get_fhir_model_class

from fhirapi.history import HistoryQuery, versions_read
from fhirapi.registry import TYPES
from fhirapi.search.dates import date_range
from fhirapi.store import instant, resources_put
from tests.conftest import Hospital
from tests.fhirapi.conftest import patient_resource
from tests.fhirapi.test_http import assert_outcome
from tests.fhirapi.test_store import rows
from tests.fhirapi.writing import Writer, entry, observation, patient

pytestmark = pytest.mark.database


@pytest.fixture
def fhir(mercy: Hospital) -> Writer:
    return Writer(mercy)


def entries(fhir: Writer, path: str) -> list[dict[str, Any]]:
    """Every entry of every page."""
    found, url = [], path
    while url:
        response = fhir.get(url)
        assert response.status_code == 200, response.content
        page = response.json()
        get_fhir_model_class("Bundle").model_validate(page)
        assert page["type"] == "history"
        found += page.get("entry", [])
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), "")
    return found


def names(found: list[dict[str, Any]]) -> list[str]:
    """Type/id/version of each entry."""
    return ["/".join(one["fullUrl"].split("/")[-2:]) + one["response"]["etag"].removeprefix("W/") for one in found]


def life(fhir: Writer) -> None:
    fhir.put("Patient/a", patient("1") | {"id": "a"})
    fhir.put("Observation/o", observation() | {"id": "o"})
    fhir.put("Patient/a", patient("2") | {"id": "a"})
    fhir.delete("Patient/a")
    fhir.put("Patient/a", patient("3") | {"id": "a"})
    with fhir.hospital.scope():
        resources_put(resources=[patient_resource("hub")])


def test_a_life_in_entries(fhir: Writer) -> None:
    """ "newest first, Bundle type history with request/response per entry", a deletion among them."""
    life(fhir)
    response = fhir.get("Patient/a/_history")
    page = response.json()
    assert (page["type"], page["total"]) == ("history", 4)
    assert [(one["request"]["method"], one["request"]["url"], one["response"]["status"]) for one in page["entry"]] == [
        ("PUT", "Patient/a", "200"), ("DELETE", "Patient/a", "204"), ("PUT", "Patient/a", "200"), ("POST", "Patient", "201"),
    ]  # fmt: skip
    assert [one["response"]["etag"] for one in page["entry"]] == [f'W/"{n}"' for n in (4, 3, 2, 1)]
    assert ["resource" in one for one in page["entry"]] == [True, False, True, True]
    assert {one["fullUrl"] for one in page["entry"]} == {f"{fhir.base}/Patient/a"}
    assert page["entry"][2]["resource"] == fhir.get("Patient/a/_history/2").json()
    assert page["entry"][0]["response"]["lastModified"] == page["entry"][0]["resource"]["meta"]["lastUpdated"]


@pytest.mark.parametrize("count", [1, 2, 3, 500])
def test_pages_hold_everything_once(fhir: Writer, count: int) -> None:
    """ "`_count`, keyset paging, newest first", at all three levels; versions of one millisecond included."""
    life(fhir)
    bulk = [entry("PUT", f"Patient/b{n}", patient() | {"id": f"b{n}"}) for n in range(5)]
    fhir.bundle("transaction", *bulk)  # all at the same time
    a, o, hub = [f'Patient/a"{n}"' for n in (4, 3, 2, 1)], ['Observation/o"1"'], ['Patient/hub"1"']
    bulked = [f'Patient/b{n}"1"' for n in range(4, -1, -1)]
    assert names(entries(fhir, f"Patient/a/_history?_count={count}")) == a
    assert names(entries(fhir, f"Patient/_history?_count={count}")) == bulked + hub + a
    everything = names(entries(fhir, f"_history?_count={count}"))
    assert everything == bulked + hub + [a[0], a[1], a[2], *o, a[3]]


def test_pages_stand_still_under_writing(fhir: Writer) -> None:
    """What comes while somebody pages does not move what was there."""
    life(fhir)
    first = fhir.get("_history?_count=2").json()
    link = next(one["url"] for one in first["link"] if one["relation"] == "next")
    fhir.put("Patient/a", patient("9") | {"id": "a"})
    fhir.delete("Observation/o")
    seen = names(first["entry"]) + names(entries(fhir, link))
    assert seen == ['Patient/hub"1"', 'Patient/a"4"', 'Patient/a"3"', 'Patient/a"2"', 'Observation/o"1"', 'Patient/a"1"']


def test_since_and_at(fhir: Writer) -> None:
    """ "`_since`, `_at`": from that instant on; and what was current at some moment of a range."""
    life(fhir)
    with fhir.hospital.scope():
        # Versions 1, 2, 3 and 4 of a on the 1st, 2nd, 3rd and 4th of January.
        for table, column in (("fhir_history", "at"), ("fhir_resource", "last_updated")):
            rows(
                f"UPDATE {table} SET {column} = timestamptz '2026-01-01T12:00:00Z' + (version - 1) * interval '1 day' "
                "WHERE fhir_id = 'a' RETURNING 1"
            )

    def versions(query: str) -> list[str]:
        return [name[-2] for name in names(entries(fhir, f"Patient/a/_history?{query}"))]

    assert versions("_since=2026-01-03T12:00:00Z") == ["4", "3"]
    assert versions("_since=2026-01-05T00:00:00Z") == []
    assert versions("_at=2026-01-02T13:00:00Z") == ["2"]
    assert versions("_at=2026-01-02T11:59:59Z") == ["1"]
    assert versions(f"_at={quote('2026-01-02T00:00:00+00:00')}") == ["1"]
    assert versions("_at=2025") == []
    assert versions("_at=2026") == ["4", "3", "2", "1"]
    assert versions("_at=2026-02") == ["4"]
    assert versions("_since=2026-01-02T12:00:00Z&_at=2026-01-02T13:00:00Z&_count=1") == ["2"]


def test_since_is_exact(fhir: Writer) -> None:
    """A client that polls with its last instant misses nothing and sees that instant again."""
    life(fhir)
    times = [one["response"]["lastModified"] for one in entries(fhir, "_history")]
    assert len(entries(fhir, f"_history?_since={times[0]}")) == sum(time == times[0] for time in times)
    later = date_range(text=times[0], zone=lambda: None)[0] + timedelta(milliseconds=1)
    assert entries(fhir, f"_history?_since={instant(later)}") == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("Patient/a/_history?_count=x", 400), ("Patient/a/_history?_count=-1", 400), ("_history?_since=yesterday", 400),
        ("_history?_at=2026-13", 400), ("_history?_cursor=forged", 400), ("Patient/never/_history", 404), ("Basic/_history", 404),
        ("Basic/a/_history", 404), ("Patient/a%20b/_history", 404), ("Patient/a/_history/0", 404), ("Patient/a/_history/-1", 404),
        ("Patient/a/_history/99999999999", 404), ("Patient/a/_history/1/x", 404),
    ],
)  # fmt: skip
def test_what_is_refused(fhir: Writer, path: str, status: int) -> None:
    fhir.put("Patient/a", patient() | {"id": "a"})
    assert_outcome(fhir.get(path), status)


def test_unknown_parameters(fhir: Writer) -> None:
    """Lenient by default, refused under handling=strict."""
    fhir.put("Patient/a", patient() | {"id": "a"})
    assert len(entries(fhir, "Patient/a/_history?_sort=x&_format=json")) == 1
    assert_outcome(fhir.get("Patient/a/_history?_sort=x", prefer="handling=strict"), 400)
    assert fhir.get("Patient/a/_history?_count=5", prefer="handling=strict").status_code == 200


def test_a_page_link_is_of_its_history_and_hospital(fhir: Writer, olaf: Hospital) -> None:
    """A cursor is bound to tenant, level and parameters."""
    life(fhir)
    other = Writer(olaf)
    life(other)
    link = next(one["url"] for one in fhir.get("Patient/a/_history?_count=1").json()["link"] if one["relation"] == "next")
    assert fhir.get(link).status_code == 200
    for changed in (
        link.replace("Patient/a/_history", "Patient/_history"), link.replace("_count=1", "_count=2"), link[:-1] + "x",
        link.replace(fhir.base, other.base),
    ):  # fmt: skip
        asked = other if other.path in changed else fhir
        assert_outcome(asked.get(changed), 400)


def test_a_history_uses_its_indexes(mercy: Hospital, fhir: Writer) -> None:
    """Under row level security, as the app role: no scan of a hospital's whole table for one page."""
    with mercy.scope():
        resources_put(resources=[patient_resource(f"p{n}") for n in range(300)])
        resources_put(resources=[patient_resource(f"p{n}", active=True) for n in range(300)])
        with CaptureQueriesContext(connection) as queries:
            versions_read(query=HistoryQuery(rtypes=tuple(TYPES), count=5, after=(timezone.now(), 1, "p9", 1)))
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN (COSTS off) {queries[0]['sql']}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
    conditions = [line for line in plan.splitlines() if "Index Cond" in line]
    assert [("last_updated <=" in line, "at <=" in line) for line in conditions] == [(True, False), (False, True)], plan
