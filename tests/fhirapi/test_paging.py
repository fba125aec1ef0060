"""Paging: every resource once, whatever is written meanwhile; links that carry everything and fit nothing else."""

import threading
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection, connections

from fhirapi.search import pages as search
from fhirapi.store import resources_put
from tests.conftest import Hospital
from tests.fhirapi.conftest import Fhir, patient_resource


def report(fhir_id: str, *, date: str = "2026-01-01") -> dict[str, object]:
    return {
        "resourceType": "DiagnosticReport", "id": fhir_id, "status": "final", "code": {"coding": [{"code": "x"}]},
        "effectiveDateTime": date,
        "subject": {"reference": f"Patient/of-{fhir_id}"}, "category": [{"coding": [{"code": "a"}, {"code": "b"}]}],
    }  # fmt: skip


def made(hospital: Hospital, count: int, *, mark: str = "r") -> list[str]:
    """Reports over few dates, so that most of them tie; each with a patient to include."""
    ids = [f"{mark}{number}" for number in range(count)]
    with hospital.scope():
        resources_put(resources=[report(name, date=f"2026-01-0{1 + number % 3}") for number, name in enumerate(ids)])
        resources_put(resources=[patient_resource(f"of-{name}") for name in ids])
    return ids


QUERIES = ["_count=4", "_count=4&_sort=_lastUpdated", "_count=4&_sort=-_lastUpdated", "_count=4&status=final&category=a,b",
           "_count=4&status=final&_sort=-_lastUpdated"]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_pages_hold_everything_once(mercy: Hospital, fhir: Fhir, query: str) -> None:
    """ "never a duplicate or a gap": full pages, a short last one, no next link behind it."""
    ids = made(mercy, 18)
    pages = fhir.walk("DiagnosticReport", query)
    assert [len(page) for page in pages] == [4, 4, 4, 4, 2]
    assert sorted(sum(pages, [])) == sorted(ids)
    assert sum(pages, []) == fhir.ids("DiagnosticReport", query.replace("_count=4", "_count=100"))


@pytest.mark.parametrize("query", [*QUERIES, "_count=4&status=final&category=a&code=none,x&_sort=_lastUpdated"])
def test_the_plan_does_not_change_the_answer(mercy: Hospital, fhir: Fhir, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    """A token that everything has walks by update, a rare one by its list: the pages are the same."""
    made(mercy, 18)
    expected = fhir.walk("DiagnosticReport", query)
    monkeypatch.setattr(search, "LONG", 1)
    assert fhir.walk("DiagnosticReport", query) == expected
    assert sum(map(len, expected)) == fhir.search("DiagnosticReport", f"{query}&_summary=count")["total"]


def test_no_false_next_link(mercy: Hospital, fhir: Fhir) -> None:
    """A page that ends with the last match has no next one."""
    made(mercy, 8)
    assert [len(page) for page in fhir.walk("DiagnosticReport", "_count=4")] == [4, 4]
    assert [link["relation"] for link in fhir.search("DiagnosticReport", "_count=8")["link"]] == ["self"]


@pytest.mark.parametrize("query", QUERIES)
def test_pages_are_exact_under_inserts(mercy: Hospital, fhir: Fhir, query: str) -> None:
    """ "paging exact under concurrent inserts": what was there at the start comes exactly once; nothing comes twice."""
    ids = made(mercy, 24)
    stop = threading.Event()

    def insert() -> None:
        number = 0
        try:
            while not stop.is_set():
                with mercy.scope():
                    resources_put(resources=[report(f"new{number}", date=f"202{5 + number % 3}-01-02")])
                number += 1
                stop.wait(0.002)
        finally:
            connections.close_all()

    thread = threading.Thread(target=insert)
    thread.start()
    try:
        url, seen = f"DiagnosticReport?{query}", []
        for _ in range(12):  # ascending, the writer may keep ahead of us for ever
            bundle = fhir.get(url).json()
            seen += [entry["resource"]["id"] for entry in bundle["entry"]]
            url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
            if not url:
                break
    finally:
        stop.set()
        thread.join()
    while url:
        bundle = fhir.get(url).json()
        seen += [entry["resource"]["id"] for entry in bundle["entry"]]
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
    assert len(seen) == len(set(seen))
    assert set(ids) <= set(seen)


def test_a_default_page_does_not_move_under_updates(mercy: Hospital, fhir: Fhir) -> None:
    """Without a sort the order is the clinical date and the id: new versions of what was or will be seen change nothing."""
    ids = made(mercy, 9)
    first = fhir.search("DiagnosticReport", "_count=3")
    with mercy.scope():
        changed = [report(name, date=f"2026-01-0{1 + number % 3}") | {"status": "amended"} for number, name in enumerate(ids)]
        resources_put(resources=changed)
    following = next(link["url"] for link in first["link"] if link["relation"] == "next")
    rest = fhir.walk("DiagnosticReport", urlsplit(following).query)
    assert sorted([e["resource"]["id"] for e in first["entry"]] + sum(rest, [])) == sorted(ids)


def test_includes_are_per_page(mercy: Hospital, fhir: Fhir) -> None:
    """ "includes per page": `_count` counts matches, and the next link keeps the include."""
    made(mercy, 5)
    url, pages = "DiagnosticReport?_count=2&_include=DiagnosticReport:subject&_sort=_lastUpdated", []
    while url:
        bundle = fhir.get(url).json()
        matches = [e["resource"]["id"] for e in bundle["entry"] if e["search"]["mode"] == "match"]
        included = [e["resource"]["id"] for e in bundle["entry"] if e["search"]["mode"] == "include"]
        assert included == [f"of-{match}" for match in matches]
        pages.append(len(matches))
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
    assert pages == [2, 2, 1]


def test_links_carry_the_whole_search(mercy: Hospital, fhir: Fhir) -> None:
    """ "self/next links (self-contained)": parameters, order and count travel with the cursor."""
    made(mercy, 3)
    query = "status=final,amended&_count=1&_sort=-_lastUpdated&_lastUpdated=ge2020"
    links = {link["relation"]: link["url"] for link in fhir.search("DiagnosticReport", query)["link"]}
    assert links["self"].startswith(f"{fhir.base}/DiagnosticReport?")
    asked = {"status": ["final,amended"], "_count": ["1"], "_sort": ["-_lastUpdated"], "_lastUpdated": ["ge2020"]}
    assert parse_qs(urlsplit(links["self"]).query) == asked
    following = parse_qs(urlsplit(links["next"]).query)
    assert following.pop("_cursor")
    assert following == asked
    second = {link["relation"]: link["url"] for link in fhir.get(links["next"]).json()["link"]}
    assert second["self"] == links["next"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("status=final", "status=final,amended"),
        ("_count=1", "_count=2"),
        ("/DiagnosticReport?", "/Observation?"),
        ("_sort=_lastUpdated", "_sort=-_lastUpdated"),
        ("_cursor=", "_cursor=A"),
        ("_cursor=", "_cursor=%00"),
    ],
)
def test_a_cursor_fits_its_own_search_only(mercy: Hospital, fhir: Fhir, old: str, new: str) -> None:
    """ "cursor signed and bound to tenant and query; a forged or foreign cursor is 400"."""
    made(mercy, 3)
    first = fhir.search("DiagnosticReport", "status=final&_count=1&_sort=_lastUpdated")
    url = next(link["url"] for link in first["link"] if link["relation"] == "next")
    assert fhir.get(url).status_code == 200
    assert old in url
    response = fhir.get(url.replace(old, new))
    assert response.status_code == 400
    assert response.json()["resourceType"] == "OperationOutcome"


def test_a_cursor_keeps_the_order_of_repeated_parameters(mercy: Hospital, fhir: Fhir) -> None:
    """The last `_sort` counts; with two of them exchanged it would be another order, whose keys are not those of the cursor."""
    made(mercy, 3)
    url = fhir.search("DiagnosticReport", "_count=1&_sort=code&_sort=issued")["link"][1]["url"]
    assert fhir.get(url).status_code == 200
    assert fhir.get(url.replace("_sort=code&_sort=issued", "_sort=issued&_sort=code")).status_code == 400


def test_page_size(mercy: Hospital, fhir: Fhir) -> None:
    """ "`_count` (default 50, max 500)"."""
    with mercy.scope():
        resources_put(resources=[patient_resource(f"p{number}") for number in range(501)])
    assert len(fhir.ids("Patient")) == 50
    assert len(fhir.ids("Patient", "_count=9999")) == 500
    assert [len(page) for page in fhir.walk("Patient", "_count=500")] == [500, 1]


def test_equal_times_do_not_lose_anybody(mercy: Hospital, fhir: Fhir) -> None:
    """Ties on the sort key are broken by the row's id, in both directions."""
    ids = made(mercy, 7)
    with mercy.scope(), connection.cursor() as cursor:
        cursor.execute("UPDATE fhir_resource SET last_updated = %s", [datetime(2026, 1, 1, tzinfo=UTC)])
    for way in ("", "-"):
        assert sorted(sum(fhir.walk("DiagnosticReport", f"_count=2&_sort={way}_lastUpdated"), [])) == sorted(ids)
