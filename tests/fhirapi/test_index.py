"""What is odd and yet FHIR is indexed without a failure, and found where it can be."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhirapi.index.indexed import resource_index
from fhirapi.index.periods import NO_DATE, NO_END, text_range, value_range
from fhirapi.search.form import Form, document_form
from fhirapi.store import Document
from tests.fhirapi.conftest import Fhir
from tests.fhirapi.test_search_cases import observation


@pytest.mark.parametrize(
    ("text", "low", "high", "is_local"),
    [
        ("2026", "2026-01-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00", True),
        ("2026-12", "2026-12-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00", True),
        ("2024-02-29", "2024-02-29T00:00:00+00:00", "2024-03-01T00:00:00+00:00", True),
        ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00+00:00", "2026-01-01T10:00:01+00:00", False),
        ("2026-01-01T10:00:00.5+02:00", "2026-01-01T08:00:00.500000+00:00", "2026-01-01T08:00:00.600000+00:00", False),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59+00:00", "2017-01-01T00:00:00+00:00", False),
        ("9999", "9999-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00", True),
        ("9999-12-31", "9999-12-31T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00", True),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+00:00", "0001-01-01T00:00:00+00:00", False),
    ],
)
def test_what_a_date_covers(text: str, low: str, high: str, is_local: bool) -> None:
    """R4 2.24.0.1: a date covers what its precision leaves open."""
    first, after, found = text_range(text)
    assert (first.isoformat(), after.isoformat(), found) == (low, high, is_local)


def test_open_periods() -> None:
    """A side that is missing has no limit (R4 2.24.0.9)."""
    start, end = value_range("Period", {"start": "2026"}), value_range("Period", {"end": "2026"})
    assert start is not None
    assert end is not None
    assert (start[1], end[0]) == (NO_END, NO_DATE)
    assert value_range("Period", {}) is None
    assert value_range("Timing", {}) is None
    assert value_range("Timing", {"repeat": {"boundsPeriod": {"start": "2026", "end": "2027"}}}) is not None


ODD = {
    "effectiveDateTime": ["2026-02-30", "9999-12-31T23:59:59.999999999-12:00", "0001"],
    "valueQuantity": [{}, {"value": 1e308, "comparator": ">="}, {"value": -0.0}, {"unit": "x"}],
    "valueSampledData": [
        {"origin": {}, "period": 1, "dimensions": 1, "data": "1 E 2"},
        {"origin": {"value": 1}, "period": 1, "dimensions": 1, "data": "E U L nan inf x"},
        {"origin": {"value": 1}, "period": 1, "dimensions": 1},
    ],
    "subject": [{}, {"reference": "#p"}, {"reference": "urn:uuid:1"}, {"identifier": {}}, {"display": "x"}, {"reference": "Patient/"}],
    "identifier": [[{}], [{"type": {}}], [{"value": "x", "type": {"coding": [{}]}}], [{"system": "urn:x"}]],
    "code": [{}, {"coding": [{}]}, {"text": " "}, {"coding": [{"display": "\u0301"}]}],
    "component": [[{"code": {}}], [{"code": {"coding": [{"code": "a"}]}, "valueQuantity": {}}]],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_values_are_indexed(name: str) -> None:
    """Nothing that passes the check may stop the index."""
    for value in ODD[name]:
        found = resource_index(tenant_id=1, resource=observation("o", "p", "c", "2026") | {name: value})
        assert found.digest


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)


@given(numbers=st.lists(NUMBERS, min_size=1, max_size=5), text=st.text(max_size=20))
def test_parts_keep_numbers_as_they_were_written(numbers: list[str], text: str) -> None:
    """ "1.00 stays 1.00", in a part of a resource too."""
    values = ",".join(f'{{"valueQuantity":{{"value":{number}}}}}' for number in numbers)
    content = f'{{"resourceType":"Observation","id":"o","component":[{values}],"status":{json.dumps(text)}}}'
    document = Document(rtype="Observation", fhir_id="o", version=1, last_updated=NO_DATE, content=content)
    part = document_form(document=document, form=Form(elements=("component",))).content
    assert f'"component":[{values}]' in part
    assert json.loads(part)["status"] == text


def test_an_impossible_day_is_not_found(fhir: Fhir) -> None:
    """A search for no day of the calendar is refused, so nothing is lost where a value is none."""
    assert fhir.get("Observation?date=2026-02-30").status_code == 400


def test_the_same_resource_is_the_same_index() -> None:
    """The digest follows the rows alone: order of members does not matter."""
    one = observation("o", "p", "c", "2026")
    other: dict[str, Any] = dict(reversed(list(one.items())))
    assert resource_index(tenant_id=1, resource=one).digest == resource_index(tenant_id=1, resource=other).digest


def test_a_place_that_is_none_is_not_measured() -> None:
    """One Location's odd position must not stop the searches for the others."""
    for latitude in (1e308, float("inf"), -91):
        place = {"resourceType": "Location", "id": "l", "position": {"latitude": latitude, "longitude": 0}}
        assert resource_index(tenant_id=1, resource=place).quantities == ()
