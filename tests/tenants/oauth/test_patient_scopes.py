"""patient/ scopes at every FHIR door: what is another patient's is not there, by no way."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhirapi.store import resources_put
from tests.conftest import Hospital
from tests.fhirapi.writing import Writer, entry, observation, patient
from tests.tenants.oauth.apps import App, app_make, browser_of

pytestmark = pytest.mark.database
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
REPORT = {"resourceType": "DiagnosticReport", "status": "final", "code": {"text": "CT"}}


@dataclass
class Ward:
    """Two patients of a hospital with an observation and a report each, and what is nobody's."""

    hospital: Hospital
    app: App
    browser: Any
    mine: str
    other: str
    ids: dict[str, str]

    def fhir(self, scope: str = "launch/patient patient/*.rs") -> Writer:
        return self.app.fhir(self.app.token(self.browser, patient=self.mine, scope=scope)["access_token"])


def lab() -> list[dict[str, Any]]:
    return [{"coding": [{"system": CATEGORY, "code": "laboratory"}]}]


@pytest.fixture
def ward(mercy: Hospital) -> Ward:
    writer, ids = Writer(mercy), {}
    people = [writer.made(patient(number, name=[{"family": f"Fam{number}"}]))["id"] for number in ("1", "2")]
    ids["doctor"] = writer.made({"resourceType": "Practitioner", "name": [{"family": "Who"}]})["id"]
    ids["device"] = writer.made({"resourceType": "Device", "patient": {"reference": f"Patient/{people[1]}"}})["id"]
    members = [{"entity": {"reference": f"Patient/{one}"}} for one in people]
    ids["group"] = writer.made({"resourceType": "Group", "type": "person", "actual": True, "member": members})["id"]
    for name, person in zip(("mine", "other"), people, strict=True):
        ids[f"{name}-plain"] = writer.made(observation(f"Patient/{person}"))["id"]
        ids[f"{name}-lab"] = writer.made(observation(f"Patient/{person}", category=lab()))["id"]
    for name, person in zip(("mine", "other"), people, strict=True):
        # Each names a result of its own patient and, as real data sometimes does, one of the other's.
        results = [{"reference": f"Observation/{ids[one]}"} for one in ("mine-plain", "other-plain")]
        body = REPORT | {
            "subject": {"reference": f"Patient/{person}"}, "result": results, "performer": [{"reference": f"Practitioner/{ids['doctor']}"}],
        }  # fmt: skip
        ids[f"{name}-report"] = writer.made(body)["id"]
    return Ward(mercy, app_make(mercy), browser_of(mercy), *people, ids)


def found(answer: Any) -> set[str]:
    assert answer.status_code == 200, answer.content
    resources = [one["resource"] for one in answer.json().get("entry", [])]
    return {f"{one['resourceType']}/{one['id']}" for one in resources if one["resourceType"] != "OperationOutcome"}


def test_read(ward: Ward) -> None:
    """ "patient picker" means something: of the other patient nothing is there, not even that it was deleted."""
    fhir, ids = ward.fhir(), ward.ids
    report = f"DiagnosticReport/{ids['mine-report']}"
    for path in (f"Patient/{ward.mine}", f"Observation/{ids['mine-plain']}", report, f"Practitioner/{ids['doctor']}"):
        assert fhir.get(path).status_code == 200, path
    report = f"DiagnosticReport/{ids['other-report']}"
    for path in (f"Patient/{ward.other}", f"Observation/{ids['other-plain']}", report, "Observation/none"):
        assert fhir.get(path).status_code == 404, path
    assert Writer(ward.hospital).delete(f"Observation/{ids['other-lab']}").status_code in {200, 204}
    assert fhir.get(f"Observation/{ids['other-lab']}").status_code == 404
    for path in (f"Device/{ids['device']}", f"Group/{ids['group']}", "Group", "Device", "AuditEvent", "Binary/x"):
        assert fhir.get(path).status_code == 403, path


def test_search(ward: Ward) -> None:
    fhir, ids, mine = ward.fhir(), ward.ids, ward.mine
    assert found(fhir.get("Patient")) == {f"Patient/{mine}"}
    assert found(fhir.get("Patient?name=Fam2")) == set()
    own = {f"Observation/{ids['mine-plain']}", f"Observation/{ids['mine-lab']}"}
    assert found(fhir.get("Observation")) == own
    assert fhir.get("Observation?_total=accurate").json()["total"] == 2
    assert fhir.get("Observation?_summary=count").json()["total"] == 2
    assert found(fhir.get(f"Observation?subject=Patient/{ward.other}")) == set()
    assert found(fhir.get(f"Observation?_id={ids['other-plain']},{ids['mine-lab']}")) == {f"Observation/{ids['mine-lab']}"}
    assert found(fhir.get(f"Patient/{mine}/Observation")) == own
    assert found(fhir.get(f"Patient/{mine}/*?_count=100")) >= own
    assert fhir.get(f"Patient/{ward.other}/Observation").status_code == 404
    assert found(fhir.get(f"Patient/{ward.other}/*")) == set()
    assert found(fhir.get("Practitioner")) == {f"Practitioner/{ids['doctor']}"}
    assert {one.partition("/")[0] for one in found(fhir.get("?_lastUpdated=gt2020-01-01"))} <= {"Practitioner"}  # shared types alone
    pages, where = set(), "Observation?_count=1&_sort=_lastUpdated"
    for _ in range(3):
        answer = fhir.get(where)
        pages |= found(answer)
        link = next((one["url"] for one in answer.json()["link"] if one["relation"] == "next"), "")
        if not link:
            break
        where = link.partition("/fhir/r4/")[2]
    assert pages == own


def test_includes_and_chains(ward: Ward) -> None:
    """ "enforced on includes too": a report's result that is another patient's does not come along, nor does one lead there by a chain."""
    fhir, ids = ward.fhir(), ward.ids
    own = f"DiagnosticReport/{ids['mine-report']}"
    asked = "&".join(f"_include=DiagnosticReport:{name}" for name in ("result", "performer", "subject"))
    along = found(fhir.get(f"DiagnosticReport?{asked}"))
    assert along == {own, f"Observation/{ids['mine-plain']}", f"Practitioner/{ids['doctor']}", f"Patient/{ward.mine}"}
    back = found(fhir.get(f"Observation?_id={ids['mine-plain']}&_revinclude=DiagnosticReport:result"))
    assert back == {f"Observation/{ids['mine-plain']}", own}
    around = found(fhir.get("DiagnosticReport?_include=*&_include:iterate=*"))
    assert own in around
    assert not {f"Observation/{ids['other-plain']}", f"Patient/{ward.other}", f"DiagnosticReport/{ids['other-report']}"} & around
    for query in (
        "DiagnosticReport?result.status=final", "Observation?subject:Patient.name=Fam1",
        f"Patient?_has:Observation:patient:_id={ids['mine-lab']}",
        f"Patient/{ward.mine}/*?subject.name=x", "Practitioner?_has:DiagnosticReport:performer:status=final",
    ):  # fmt: skip
        assert fhir.get(query).status_code in {400, 403}, query


def test_everything(ward: Ward) -> None:
    fhir, ids = ward.fhir(), ward.ids
    there = found(fhir.get(f"Patient/{ward.mine}/$everything"))
    assert {f"Patient/{ward.mine}", f"Observation/{ids['mine-plain']}", f"DiagnosticReport/{ids['mine-report']}"} <= there
    assert not {one for name, one in ids.items() if name.startswith("other")} & {one.partition("/")[2] for one in there}
    assert fhir.get(f"Patient/{ward.other}/$everything").status_code == 404
    only = ward.fhir("launch/patient patient/Patient.rs patient/Observation.rs")
    assert {one.partition("/")[0] for one in found(only.get(f"Patient/{ward.mine}/$everything"))} == {"Patient", "Observation"}
    assert only.get(f"Patient/{ward.mine}/$everything?_type=DiagnosticReport").status_code == 403


def test_what_needs_the_whole_type_is_refused(ward: Ward) -> None:
    fhir, ids = ward.fhir(), ward.ids
    for path in (
        f"Observation/{ids['mine-plain']}/_history", f"Observation/{ids['mine-plain']}/_history/1", "Observation/_history",
        f"Observation/{ids['mine-plain']}/$meta", "Observation/$meta",
    ):  # fmt: skip
        assert fhir.get(path).status_code == 403, path
    for entry_ in fhir.get("_history").json().get("entry", []):
        assert entry_["resource"]["resourceType"] == "Practitioner"
    assert fhir.post("Patient/$match", {"resourceType": "Patient"}).status_code == 403
    assert fhir.post(f"Observation/{ids['mine-plain']}/$validate").status_code == 403


def test_nothing_is_written(ward: Ward) -> None:
    """patient/ scopes read and search: `.cruds` is granted as `.rs`, `.write` not at all."""
    token = ward.app.token(ward.browser, patient=ward.mine, scope="launch/patient patient/*.cruds patient/*.write")
    assert token["scope"] == "launch/patient patient/*.rs"
    fhir, ids, mine = ward.app.fhir(token["access_token"]), ward.ids, ward.mine
    body = observation(f"Patient/{mine}")
    stored = fhir.get(f"Observation/{ids['mine-plain']}").json()
    assert fhir.post("Observation", body).status_code == 403
    assert fhir.put(f"Observation/{ids['mine-plain']}", stored).status_code == 403
    assert fhir.delete(f"Observation/{ids['mine-plain']}").status_code == 403
    change = [{"op": "replace", "path": "/status", "value": "final"}]
    assert fhir.patch(f"Observation/{ids['mine-plain']}", change).status_code in {403, 415}
    assert fhir.bundle("transaction", entry("POST", "Observation", body)).status_code == 403
    batch = fhir.bundle(
        "batch", entry("POST", "Observation", body), entry("GET", f"Observation/{ids['other-plain']}"),
        entry("GET", f"Observation/{ids['mine-plain']}"), entry("GET", "Observation?_summary=count"),
    ).json()  # fmt: skip
    assert [one["response"]["status"] for one in batch["entry"]] == ["403", "404", "200", "200"]
    assert batch["entry"][3]["resource"]["total"] == 2


def test_an_export_holds_nobodys_patients(ward: Ward) -> None:
    fhir = ward.fhir()
    asked = {"prefer": "respond-async"}
    assert fhir.send("GET", "$export?_type=Patient", **asked).status_code in {400, 403}
    assert fhir.send("GET", f"Group/{ward.ids['group']}/$export", **asked).status_code in {202, 403}


def test_a_query_narrows_a_patients_scope(ward: Ward) -> None:
    """Both hold: the patient's, and of these what the query finds (SMART 2.2, finer-grained)."""
    fhir, ids = ward.fhir(f"launch/patient patient/Observation.rs?category={CATEGORY}|laboratory"), ward.ids
    assert found(fhir.get("Observation")) == {f"Observation/{ids['mine-lab']}"}
    assert fhir.get(f"Observation/{ids['mine-lab']}").status_code == 200
    for name in ("mine-plain", "other-lab", "other-plain"):
        assert fhir.get(f"Observation/{ids[name]}").status_code == 404, name
    assert fhir.get("DiagnosticReport").status_code == 403
    assert fhir.get(f"Patient/{ward.mine}").status_code == 403


def test_whole_and_own_together(ward: Ward) -> None:
    """user/ opens all of a type, patient/ what is the patient's of the others."""
    fhir, ids = ward.fhir("launch/patient user/Observation.rs patient/*.rs"), ward.ids
    assert fhir.get(f"Observation/{ids['other-plain']}").status_code == 200
    assert fhir.get(f"DiagnosticReport/{ids['other-report']}").status_code == 404
    along = found(fhir.get("DiagnosticReport?_include=DiagnosticReport:result"))
    assert f"Observation/{ids['other-plain']}" in along


def test_a_token_without_a_patient_reads_nobody(ward: Ward) -> None:
    """A grant whose patient is not there would open nothing: fails closed."""
    from tenants.models import OAuthGrant

    fhir = ward.fhir()
    with ward.hospital.scope():
        OAuthGrant.objects.update(patient="")
    assert fhir.get("Observation").status_code == 403
    assert fhir.get(f"Patient/{ward.mine}").status_code == 403


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_points_at_whatever(ward: Ward, data: st.DataObject) -> None:
    """By property: over graphs in which anything names anything, an answer holds the patient's own and what is nobody's, nothing else."""
    people = [ward.mine, ward.other]
    owners = {f"o{n}": data.draw(st.sampled_from(people), label=f"o{n}") for n in range(6)}
    resources: list[dict[str, Any]] = []
    for name, owner in owners.items():
        members = data.draw(st.lists(st.sampled_from(sorted(owners)), max_size=3, unique=True))
        links = {"hasMember": [{"reference": f"Observation/{one}"} for one in members]} if members else {}
        focus = {"focus": [{"reference": f"Patient/{data.draw(st.sampled_from(people))}"}]}
        resources.append(observation(f"Patient/{owner}", id=name) | links | focus)
    with ward.hospital.scope():
        resources_put(resources=resources)
    fhir = ward.fhir()
    queries = [
        "Observation?_include=Observation:has-member&_include:iterate=Observation:has-member",
        "Observation?_revinclude=Observation:has-member",
        "Observation?_include=Observation:focus&_include=Observation:subject", "Patient?_revinclude=Observation:focus",
        "Patient?_revinclude=Observation:subject&_include:iterate=Observation:has-member", f"Patient/{ward.mine}/$everything",
    ]  # fmt: skip
    for query in queries:
        for one in found(fhir.get(query)):
            kind, _, fhir_id = one.partition("/")
            if kind == "Observation" and fhir_id in owners:
                assert owners[fhir_id] == ward.mine, (query, one)
            if kind == "Patient":
                assert fhir_id == ward.mine, (query, one)
