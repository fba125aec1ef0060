"""The page of a work item, and the choice of what becomes of duplicates."""

import pytest
from django.urls import reverse

from fhirapi.differences import differences_look
from fhirapi.writing.writes import Change, changes_write
from imaging.models import WorkItem
from journal.models import AuditEvent
from tests import house
from tests.dicom_files import ct_slice
from tests.portal.test_pages import signed_in


@pytest.fixture
def item(mercy):
    """An image of Mr. Roe in a study of Ms. Doe."""
    first = ct_slice()
    house.store(mercy, [first, ct_slice(StudyInstanceUID=first.StudyInstanceUID, PatientID="P2", PatientName="ROE^RICHARD")])
    house.index(mercy)
    with mercy.scope():
        return WorkItem.objects.get()


def test_both_sides_for_those_who_may_see_them(client, mercy, item) -> None:
    """"No PHI in titles/URLs; within the page the values are shown to those whose role may see PHI", and looking is audited."""
    url = reverse("workitem", args=[mercy.slug, item.id])
    page = signed_in(client, mercy, "admin").get(url).content.decode()
    assert "DOE, JANE" in page
    assert "ROE, RICHARD" in page
    assert "<title>Work item - MedHub</title>" in page
    with mercy.scope():
        assert AuditEvent.objects.filter(action="workitem.view", object_id=str(item.id)).count() == 1
    client.logout()
    page = signed_in(client, mercy, "integrator").get(url).content.decode()
    assert "DOE" not in page
    assert "ROE" not in page
    assert "An owner or an administrator" in page


def test_a_decision_is_made_and_said(client, mercy, item) -> None:
    """Accept; then the item is decided, the list is empty, and another decision changes nothing and says so."""
    signed_in(client, mercy, "owner")
    url = reverse("workitem-decide", args=[mercy.slug, item.id])
    page = client.post(url, {"action": "discard"}, follow=True).content.decode()
    assert "Nothing was changed: say why." in page
    page = client.post(url, {"action": "accept"}, follow=True).content.decode()
    assert "Decided." in page
    assert "Nothing waits for you" in page
    page = client.post(url, {"action": "discard", "note": "x"}, follow=True).content.decode()
    assert "somebody has decided this already" in page
    assert "accepted into the study" in page


def test_the_hospital_chooses_what_becomes_of_duplicates(client, mercy) -> None:
    """"form on the hospital settings page for owner/admin, audit"."""
    url = reverse("duplicate-policy", args=[mercy.slug])
    page = signed_in(client, mercy, "owner").get(reverse("hospital", args=[mercy.slug])).content.decode()
    assert 'value="aside" selected' in page
    assert "Saved." in client.post(url, {"policy": "refuse"}, follow=True).content.decode()
    assert "Nothing was changed" in client.post(url, {"policy": "drop"}, follow=True).content.decode()
    mercy.tenant.refresh_from_db()
    assert mercy.tenant.duplicate_policy == "refuse"
    with mercy.scope():
        assert AuditEvent.objects.get(action="hospital.duplicate_policy").detail == {"policy": "refuse"}
    client.logout()
    page = signed_in(client, mercy, "integrator").get(reverse("hospital", args=[mercy.slug])).content.decode()
    assert 'name="policy"' not in page


def test_the_images_beside_the_ehr(client, mercy, item) -> None:
    """A person whom the EHR tells otherwise: both records, and what differs; dismissed by who may decide."""
    with mercy.scope():
        person = item.study.patient
        told = {"resourceType": "Patient", "id": str(person.uuid), "name": [{"family": "Doe-Smith", "given": ["Jane"]}]}
        changes_write(changes=[Change(rtype="Patient", fhir_id=told["id"], resource=told)])
        differences_look(fhir_ids=[told["id"]])
        differs = WorkItem.objects.get(kind="patient-differs")
    signed_in(client, mercy, "owner")
    assert "Patient differs from the EHR" in client.get(reverse("attention", args=[mercy.slug])).content.decode()
    page = client.get(reverse("workitem", args=[mercy.slug, differs.id])).content.decode()
    for words in ("DOE, JANE", "Doe-Smith, Jane", "differs", "The EHR&#x27;s record and the images differ: the name."):
        assert words in page, words
    page = client.post(reverse("workitem-decide", args=[mercy.slug, differs.id]), {"action": "dismiss"}, follow=True).content.decode()
    assert "Decided." in page
