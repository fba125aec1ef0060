"""Two bounds of one date parameter are one walk: found is what each of them finds, whatever stands in the resources."""

from typing import Any

import pytest

from fhirapi.search import query
from fhirapi.store import resources_put
from tests.conftest import Hospital
from tests.fhirapi.writing import Writer

pytestmark = pytest.mark.database
DATES = (
    "2024", "2024-05", "2024-05-01", "2024-05-31", "2024-06-01", "2024-05-10T10:00:00Z", "2024-05-31T23:30:00-05:00", "2023-12-31",
    "2024-05-15T00:00:00+14:00", "2025-01-01",
)  # fmt: skip
PERIODS = (
    [("2024-04-01", "2024-07-01")], [("2020", None)], [(None, "2024-05-10")], [("2024-05-10", "2024-05-11")],
    [("2019-01-01", "2019-01-02"), ("2030-01-01", "2030-01-02")], [("2024-05-05", "2024-05-05"), ("2024-05-06", "2024-05-06")],
)  # fmt: skip
BOUNDS = (
    ("ge2024-05-01", "le2024-05-31"), ("gt2024-05", "lt2024-06-02"), ("sa2024-04-30", "eb2024-06"), ("ge2024", "2024-05"),
    ("ge2024-05-01T00:00:00Z", "lt2024-05-12T00:00:00+02:00"), ("le2024-05-31", "ne2024-05-10"), ("ge2024-05-01,ge2030", "le2024-05-31"),
)  # fmt: skip


def encounter(number: int, periods: list[tuple[str | None, str | None]]) -> dict[str, Any]:
    named = [{name: text for name, text in zip(("start", "end"), period, strict=True) if text} for period in periods]
    return {
        "resourceType": "Encounter", "id": f"e{number}", "status": "finished", "class": {"code": "AMB"},
        "location": [{"location": {"display": "a ward"}, "period": period} for period in named],
    }  # fmt: skip


def report(number: int, date: str) -> dict[str, Any]:
    code = {"text": "x"}
    return {"resourceType": "DiagnosticReport", "id": f"d{number}", "status": "final", "code": code, "effectiveDateTime": date}


def test_both_bounds_at_once(mercy: Hospital, monkeypatch) -> None:
    """ "prefixes": a period that spans both bounds and several dates that meet one each are found as well."""
    made = [encounter(number, periods) for number, periods in enumerate(PERIODS)]
    made += [report(number, date) for number, date in enumerate(DATES)]
    with mercy.scope():
        resources_put(resources=made)
    fhir = Writer(mercy)

    def ids(path: str) -> list[str]:
        return [one["resource"]["id"] for one in fhir.get(path).json().get("entry", [])]

    asked = (("DiagnosticReport", "date"), ("Encounter", "location-period"))
    paths = [f"{rtype}?{name}={low}&{name}={high}" for low, high in BOUNDS for rtype, name in asked]
    found = {path: ids(path) for path in paths}
    monkeypatch.setattr(query, "dates_between", lambda terms: ())
    assert found == {path: ids(path) for path in paths}
    assert found["Encounter?location-period=ge2024-05-01&location-period=le2024-05-31"] == ["e5", "e4", "e3", "e2", "e1", "e0"]
    assert sum(map(len, found.values())) > 40
