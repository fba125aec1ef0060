"""Two patients are one, and two again: studies, orders and reports on both sides, in rows and in FHIR."""

from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from ai.models import Report
from fhirapi.projections import reports_put
from imaging.describe import PatientFacts
from imaging.merging.services import MergeRefused, patient_merge, patient_merge_undo
from imaging.models import Order, Patient, PatientMerge, Study
from journal.audit import Actor
from journal.models import AuditEvent
from tenants.services import token_create
from tests import house
from tests.conftest import Hospital
from tests.fhirapi.conftest import report_make
from tests.fhirapi.writing import Writer
from tests.imaging.test_orders import JANE, arrive, upsert
from tests.killing import KILLED, killed_or_done

pytestmark = pytest.mark.database
ACTOR = Actor(name="user:test")
OLD = PatientFacts(issuer="", patient_id="P2", name="DOE^JANE", birth_date="", sex="")
MESSAGE = b"MSH|^~\\&|ADT|HOSP|||20260705||ADT^A40^ADT_A39|1|P|2.5.1\rPID|||P1\rMRG|P2\r"


@pytest.fixture
def writer(mercy: Hospital) -> Writer:
    return Writer(mercy)


@pytest.fixture
def both(mercy: Hospital) -> dict[str, Study]:
    """A study with a report and an order on either side."""
    upsert(mercy, "A1", steps=None)
    upsert(mercy, "A2", patient=OLD, steps=None)
    studies = {number: arrive(mercy, PatientID=number, AccessionNumber=number.replace("P", "A")) for number in ("P1", "P2")}
    with mercy.scope():
        for study in studies.values():
            report = report_make(Study.objects.get(id=study.id))
            assert report.study_id == study.id
    return studies


def merge(mercy: Hospital, surviving: PatientFacts = JANE, gone: PatientFacts = OLD, **more: Any) -> PatientMerge | None:
    with mercy.scope():
        done = patient_merge(actor=ACTOR, surviving=surviving, gone=gone, origin="hl7", **more)
    house.settle(mercy)
    return done


def undo(mercy: Hospital, merged: PatientMerge | None) -> None:
    assert merged is not None
    with mercy.scope():
        patient_merge_undo(actor=ACTOR, merge_id=merged.id)
    house.settle(mercy)


def owners(mercy: Hospital) -> dict[str, set[str]]:
    """Whose studies and orders: by the number that each patient has."""
    with mercy.scope():
        found: dict[str, set[str]] = {}
        for model in (Study, Order):
            for number, accession in model.objects.values_list("patient__patient_id", "accession_number"):
                found.setdefault(number, set()).add(f"{model.__name__} {accession}")
    return found


TWO = {"P1": {"Study A1", "Order A1"}, "P2": {"Study A2", "Order A2"}}
ONE = {"P1": TWO["P1"] | TWO["P2"]}


def subjects(mercy: Hospital, writer: Writer) -> dict[str, set[str]]:
    """Patient id -> what in FHIR is about it."""
    found: dict[str, set[str]] = {}
    for rtype in ("ImagingStudy", "DiagnosticReport", "ServiceRequest"):
        for one in writer.get(rtype).json().get("entry", ()):
            found.setdefault(one["resource"]["subject"]["reference"], set()).add(f"{rtype}/{one['resource']['id']}")
    return found


def test_moved_in_rows_and_in_fhir_and_back(mercy: Hospital, both: dict[str, Study], writer: Writer) -> None:
    """ "A40 merges move studies, orders and reports in one transaction, set Patient.link, keep the received bytes, re-issue ImagingStudy,
    and can be undone": with studies, orders and reports on both sides.
    """
    house.settle(mercy)
    with mercy.scope():
        first, second = (Patient.objects.get(patient_id=number) for number in ("P1", "P2"))
        assert Report.objects.count() == 2
    for study in both.values():  # as if reports had been issued
        with mercy.scope():
            reports_put(report_ids=list(Report.objects.filter(study_id=study.id).values_list("id", flat=True)))
    before = subjects(mercy, writer)
    assert {patient: len(found) for patient, found in before.items()} == {f"Patient/{first.uuid}": 3, f"Patient/{second.uuid}": 3}
    versions = writer.get(f"ImagingStudy/{both['P2'].uuid}").json()["meta"]["versionId"]
    merged = merge(mercy, message=MESSAGE)
    assert merged is not None
    assert owners(mercy) == ONE
    after = subjects(mercy, writer)
    assert {patient: len(found) for patient, found in after.items()} == {f"Patient/{first.uuid}": 6}
    assert int(writer.get(f"ImagingStudy/{both['P2'].uuid}").json()["meta"]["versionId"]) == int(versions) + 1
    gone = writer.get(f"Patient/{second.uuid}").json()
    assert (gone["active"], gone["link"]) == (False, [{"other": {"reference": f"Patient/{first.uuid}"}, "type": "replaced-by"}])
    with mercy.scope():
        assert bytes(PatientMerge.objects.get().message) == MESSAGE
        assert AuditEvent.objects.filter(action="patient.merge").count() == 1
    undo(mercy, merged)
    undo(mercy, merged)  # once more changes nothing
    assert owners(mercy) == TWO
    assert subjects(mercy, writer) == before
    back = writer.get(f"Patient/{second.uuid}").json()
    assert "link" not in back
    assert back.get("active", True)
    assert merge(mercy) is not None  # and one again
    assert owners(mercy) == ONE


def test_what_comes_later_follows_and_goes_back_with_it(mercy: Hospital, both: dict[str, Study]) -> None:
    """Images under the old number are found under the new one, in old studies and new; the undoing gives them back too."""
    merged = merge(mercy)
    later = arrive(mercy, PatientID="P2", AccessionNumber="A3")
    arrive(mercy, PatientID="P2", AccessionNumber="A2", StudyInstanceUID=both["P2"].study_uid)
    mine = arrive(mercy, PatientID="P1", AccessionNumber="A4")
    with mercy.scope():
        assert set(Study.objects.values_list("patient__patient_id", flat=True)) == {"P1"}
        assert Study.objects.get(id=both["P2"].id).number_of_instances == 2
    undo(mercy, merged)
    with mercy.scope():
        assert Study.objects.get(id=later.id).patient.patient_id == "P2"
        assert Study.objects.get(id=mine.id).patient.patient_id == "P1"
    assert owners(mercy)["P2"] >= TWO["P2"]


def test_a_patient_of_the_ehrs_own_gets_its_link_too(mercy: Hospital, both: dict[str, Study], writer: Writer) -> None:
    """What the EHR said of it stays word for word; only the link and `active` are ours, and go again."""
    house.settle(mercy)
    with mercy.scope():
        second = Patient.objects.get(patient_id="P2")
    told = writer.get(f"Patient/{second.uuid}").json() | {"telecom": [{"system": "phone", "value": "555"}]}
    assert writer.put(f"Patient/{second.uuid}", told).status_code == 200
    merged = merge(mercy)
    found = writer.get(f"Patient/{second.uuid}").json()
    assert (found["telecom"], found["active"], found["link"][0]["type"]) == (told["telecom"], False, "replaced-by")
    undo(mercy, merged)
    found = writer.get(f"Patient/{second.uuid}").json()
    assert found["active"]
    assert "link" not in found


def test_chains(mercy: Hospital, both: dict[str, Study]) -> None:
    """P2 into P1, P1 into P3: everything is P3's; undone from the last one on, and in no other order."""
    third = PatientFacts(issuer="", patient_id="P3", name="DOE^JANE", birth_date="", sex="")
    first = merge(mercy)
    second = merge(mercy, surviving=third, gone=JANE)
    assert set(owners(mercy)) == {"P3"}
    arrive(mercy, PatientID="P2", AccessionNumber="A9")
    assert set(owners(mercy)) == {"P3"}
    assert merge(mercy) is None  # P2 is P1, and both are P3 by now
    with mercy.scope(), pytest.raises(MergeRefused, match="undo that first"):
        patient_merge_undo(actor=ACTOR, merge_id=first.id if first else 0)
    undo(mercy, second)
    assert owners(mercy) == {"P1": ONE["P1"] | {"Study A9"}}
    undo(mercy, first)
    assert owners(mercy) == TWO | {"P2": TWO["P2"] | {"Study A9"}}


def test_who_is_not_known(mercy: Hospital, both: dict[str, Study]) -> None:
    """Nobody has the number: nothing to merge. The survivor is made where it is not there. One that is another's already is refused."""
    nobody = PatientFacts(issuer="", patient_id="NOBODY", name="", birth_date="", sex="")
    assert merge(mercy, gone=nobody) is None
    assert merge(mercy, surviving=nobody) is not None
    assert set(owners(mercy)) == {"P1", "NOBODY"}
    with mercy.scope(), pytest.raises(MergeRefused, match="already"):
        patient_merge(actor=ACTOR, surviving=JANE, gone=OLD, origin="hl7")


def test_killed_before_its_commit_nothing_moved(mercy: Hospital, both: dict[str, Study], tmp_path: Path) -> None:
    """ "in one transaction": all of it or nothing, also when the process dies; both ways."""
    with mercy.scope():
        ids = {number: Patient.objects.get(patient_id=number).id for number in ("P1", "P2")}
    (tmp_path / "merge.before_commit").touch()
    given = {"tenant_id": mercy.tenant.id, "surviving_id": ids["P1"], "gone_id": ids["P2"]}
    assert killed_or_done("tests.imaging.merging_alone", "merge_alone", faults=tmp_path, **given) == KILLED
    assert owners(mercy) == TWO
    merged = merge(mercy)
    (tmp_path / "merge.before_undone").touch()
    given = {"tenant_id": mercy.tenant.id, "merge_id": merged.id if merged else 0}
    assert killed_or_done("tests.imaging.merging_alone", "undo_alone", faults=tmp_path, **given) == KILLED
    assert owners(mercy) == ONE


class TestTheApi:
    def test_merges_are_made_listed_and_undone(self, mercy: Hospital, olaf: Hospital, both: dict[str, Study], client: Any) -> None:
        """By number; ids in the answers, never a name. Another hospital's merge is 404."""
        auth = {"authorization": f"Bearer {token_create(tenant=mercy.tenant, name='x', role='admin')}"}
        url = reverse("api-merges", args=[mercy.slug])

        def post(path: str, body: Any, headers: Any = auth) -> Any:
            return client.post(path, body, content_type="application/json", headers=headers)

        wish = {"surviving": {"patient_id": "P1"}, "gone": {"patient_id": "P2"}}
        made = post(url, wish)
        assert made.status_code == 201, made.content
        assert owners(mercy) == ONE
        assert post(url, wish).status_code == 409
        assert post(url, {"surviving": {"patient_id": "P1"}}).status_code == 400
        assert post(url, wish | {"gone": {"patient_id": "NOBODY"}}).status_code == 409
        (item,) = client.get(url, headers=auth).json()["items"]
        assert item == made.json()
        assert "DOE" not in str(item)
        assert (item["origin"], item["undone_at"], item["studies"], item["orders"]) == ("api", None, 1, 1)
        back = reverse("api-merge-undo", args=[mercy.slug, int(item["id"])])
        theirs = {"authorization": f"Bearer {token_create(tenant=olaf.tenant, name='x', role='admin')}"}
        assert post(back.replace(mercy.slug, olaf.slug), {}, theirs).status_code == 404
        assert post(back, {}, mercy.auth).status_code == 403
        assert [post(back, {}).status_code for _ in range(2)] == [200, 200]
        assert owners(mercy) == TWO
        assert client.get(reverse("api-merge", args=[mercy.slug, int(item["id"])]), headers=auth).json()["undone_at"]
