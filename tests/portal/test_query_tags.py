"""The page of query attributes: declared, watched, read again, removed by who may."""

import pytest
from django.urls import reverse

from imaging.models import QueryTag
from tests.dicom_files import series_of
from tests.imaging.tag_jobs import build
from tests.imaging.test_qido import store
from tests.portal.test_pages import signed_in

pytestmark = pytest.mark.database


def test_an_attribute_from_its_declaration_to_its_end(client, mercy) -> None:
    """"a small section or page in the portal ... listing tags with progress": refusals stay at their field, the panel says 304."""
    store(mercy, *series_of(2, SliceThickness=2))
    signed_in(client, mercy, "integrator")
    page, live = reverse("query-tags", args=[mercy.slug]), reverse("query-tags-panel", args=[mercy.slug])
    assert "No attribute yet" in client.get(page).content.decode()
    refused = client.post(reverse("query-tag-create", args=[mercy.slug]), {"tag": "SliceThikness", "level": "study"})
    assert "neither a keyword of PS3.6" in refused.content.decode()
    made = client.post(reverse("query-tag-create", args=[mercy.slug]), {"tag": "SliceThickness", "level": "study"}, follow=True)
    assert "SliceThickness can be asked for now." in made.content.decode()
    mark = client.get(live).context["mark"]
    assert client.get(live, {"seen": mark}).status_code == 304
    build(mercy)
    shown = client.get(live, {"seen": mark}).content.decode()
    assert "2 of 2 objects read" in shown
    assert "ready" in shown
    with mercy.scope():
        tag = QueryTag.objects.get()
    client.post(reverse("query-tag-reindex", args=[mercy.slug, tag.id]))
    assert "being built" in client.get(page).content.decode()
    gone = client.post(reverse("query-tag-delete", args=[mercy.slug, tag.id]), follow=True).content.decode()
    assert "SliceThickness cannot be asked for any more." in gone
    assert "No attribute yet" in gone


def test_a_private_creator_is_text(client, mercy) -> None:
    """What somebody types is shown as it was typed, never as HTML."""
    signed_in(client, mercy, "admin")
    asked = {"tag": "0019,1010", "level": "instance", "private_creator": "<b>ACME", "vr": "LO"}
    page = client.post(reverse("query-tag-create", args=[mercy.slug]), asked, follow=True).content.decode()
    assert "&lt;b&gt;ACME" in page
    assert "<b>ACME" not in page
