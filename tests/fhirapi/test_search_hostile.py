"""What nobody should ask is answered all the same."""

import pytest

from fhirapi.store import resources_put
from tests.conftest import Hospital
from tests.fhirapi.conftest import Fhir
from tests.fhirapi.test_search_cases import WORLD


@pytest.fixture
def filled(mercy: Hospital) -> Fhir:
    with mercy.scope():
        resources_put(resources=WORLD)
    return Fhir(mercy)


HOSTILE = [
    "name=%00",
    "identifier=%00",
    "identifier=a%00|b",
    "_id=%00",
    "_tag=%00|",
    "general-practitioner=Practitioner/%00",
    "_source:below=%00",
    "name%00=x",
    "birthdate=0001-01-01T00:00:00Z",
    "birthdate=lt0001-01-02",
    "birthdate=ap0001",
    "birthdate=ap9998",
    "birthdate=9998-12-31",
    "birthdate=ge9999",
    "birthdate=2026-02-29",
    "birthdate=٢٠٢٠",
    "birthdate=2026-06-31T99:00",
    "name=%FF%FE",
    "name=" + "x" * 5000,
    "identifier=" + "x" * 5000,
    "_source:above=" + "x" * 5000,
    "_has:Observation:patient:value-quantity=1e999",
    "_has:Observation:patient:value-quantity=-1e-999",
    "_has:Observation:patient:value-quantity=ap0",
    "_has:Observation:patient:value-quantity=1e9999",
    "_has:Observation:patient:value-quantity=NaN",
    "_has:Observation:patient:value-quantity=٣",
    "_has:Observation:patient:value-quantity=1,2|x",
    "_has:Observation:patient:code-value-quantity=$",
    "_has:Observation:patient:code-value-quantity=a$b$c",
    "_has:" * 30 + "=x",
    "a." * 200 + "b=x",
    "organization." * 5 + "name=x",
    "_sort=" + "-" * 50,
    "_sort=,",
    "_sort=-",
    "_elements=,",
    "_include=::::",
    "_include=Patient:",
    "_revinclude=Patient",
    "_has=1",
    "_has:=1",
    ".=1",
    ":=1",
    "name:=x",
    "name.=x",
    "organization:Organization:x.name=y",
    "organization:.name=x",
    "%27;DROP=1",
    "name=%27;--",
    "name=%25",
    "name:contains=%25",
    "name:contains=_",
    "name=\\",
    "name=\\,",
    "identifier=\\|",
    "identifier=|||",
    "identifier:of-type=|||",
    "_count=-0",
    "_count=1e3",
    "_total=all",
    "_summary=all",
    "_list=$current",
    "_list=../x",
    "link=Patient/../x",
    "link=//",
    "link=http://",
    "link:identifier=|",
    "_lastUpdated=ge",
    "_lastUpdated=%00",
    "_cursor=%00",
    "_type=x",
    "deceased=maybe",
    "gender:in=x",
    "gender:in=",
    "_profile=|",
    "language:text=%20",
]


def test_hostile_searches_are_answered(filled: Fhir) -> None:
    """Whatever is asked is an answer or a 400 with an OperationOutcome, never a failure, and never repeats a value."""
    for query in HOSTILE:
        for prefer in ("handling=lenient", "handling=strict"):
            response = filled.get(f"Patient?{query}", prefer=prefer)
            assert response.status_code in {200, 400}, (query[:80], response.status_code, response.content)
            if response.status_code == 400:
                (issue,) = response.json()["issue"]
                assert issue["diagnostics"]
                assert "xxx" not in issue["diagnostics"]
    for place in ("1e400|0", "0|1e400", "91|0", "0|-181", "||", "a|b", "0|0|1|parsec", "0|0|-1", "0|0|1e999|km"):
        assert filled.get(f"Location?near={place}").status_code in {200, 400}, place
    assert filled.get("Patient?birthdate=٢٠٢٠").status_code == 400, "digits of FHIR are ASCII"
    found = filled.get("Patient?name:contains=%25").json()
    assert "entry" not in found  # a percent sign is no wildcard
