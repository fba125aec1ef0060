"""A walk that a date bounds finds what a look at everything finds, page by page, in both orders."""

from itertools import product
from typing import Any

import pytest

from fhirapi.search import pages
from fhirapi.store import resources_put
from tests.conftest import Hospital
from tests.fhirapi.test_search_between import BOUNDS, DATES
from tests.fhirapi.writing import Writer

pytestmark = pytest.mark.database
PERIODS = (
    ("2024-04-01", "2024-07-01"), ("2020", None), (None, "2024-05-10"), ("2024-05-10", "2024-05-11"), ("2024-05-05", "2024-05-05"),
    ("2024-05-31T23:00:00Z", "2024-06-01T02:00:00Z"), ("2024-04-28", "2024-05-02"), ("2024-05-30", "2024-06-03"),
)  # fmt: skip
ALONE = ("ge2024-05-01", "le2024-05-31", "gt2024-05-10", "lt2024-05-10", "sa2024-05", "eb2024-05", "2024-05", "ne2024-05", "ap2024-05-10")
TERMS = ("", "&status=final", "&status=final&code=x", "&code=x,y", "&status=final&identifier:missing=false", "&status:not=final")


def report(number: int, when: dict[str, Any]) -> dict[str, Any]:
    """Every second one is final, every third one has code x."""
    coding = {"system": "urn:c", "code": "xyz"[number % 3]}
    return {
        "resourceType": "DiagnosticReport", "id": f"d{number}", "status": ("final", "preliminary")[number % 2],
        "code": {"coding": [coding]}, "identifier": [{"value": str(number)}], **when,
    }  # fmt: skip


def test_walks_find_what_a_look_at_everything_finds(mercy: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "keyset paging", "prefixes": dates with and without an offset, periods open and closed, none at all; pages of eleven."""
    periods = [{name: text for name, text in zip(("start", "end"), one, strict=True) if text} for one in PERIODS]
    whens = [{"effectiveDateTime": text} for text in DATES] + [{"effectivePeriod": period} for period in periods] + [{}]
    with mercy.scope():
        resources_put(resources=[report(number, when) for number, when in enumerate(whens * 3)])
    fhir = Writer(mercy)

    def ids(path: str) -> list[str]:
        found: list[str] = []
        while path:
            bundle = fhir.get(path).json()
            found += [one["resource"]["id"] for one in bundle.get("entry", [])]
            path = next((one["url"].rsplit("/", 1)[1] for one in bundle["link"] if one["relation"] == "next"), "")
        return found

    dates = [f"date={one}" for one in ALONE] + [f"date={low}&date={high}" for low, high in BOUNDS]
    paths = [f"DiagnosticReport?{d}{t}&_sort={s}&_count=11" for d, (t, s) in product(dates, product(TERMS[:3], ("-date", "date")))]
    paths += [f"DiagnosticReport?{date}{term}&_count=11" for date in dates[::3] for term in TERMS[3:]]
    monkeypatch.setattr(pages, "WALKED", 10**9)
    monkeypatch.setattr(pages, "LONG", 10**9)
    looked = {path: ids(path) for path in paths}
    for walked, long in ((-1, 10**9), (-1, 0)):  # rare and walked; common
        monkeypatch.setattr(pages, "WALKED", walked)
        monkeypatch.setattr(pages, "LONG", long)
        assert {path: ids(path) for path in paths} == looked
    assert sum(map(len, looked.values())) > 1000
    for path, found in looked.items():
        assert len(set(found)) == len(found), path
