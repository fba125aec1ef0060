"""What an AI has made never starts routing, whoever its manufacturer is and whichever way it comes in (imaging.describe)."""

from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from imaging.inbox import object_write
from imaging.models import Instance, Study
from tests import house
from tests.dicom_files import part10, series_of

pytestmark = pytest.mark.database


def contributor(name: str) -> Dataset:
    item = Dataset()
    item.Manufacturer = name
    return item


def late(hospital: Any, **attributes: Any) -> tuple[Study, Study]:
    """A complete study before and after one more object of it, under a series of its own."""
    slices = series_of(3, Manufacturer="Example Scanners")
    house.store(hospital, slices[:2])
    house.index(hospital)
    house.complete(hospital)
    with hospital.scope():
        before = Study.objects.get()
    more = slices[2]
    more.SeriesInstanceUID = generate_uid()
    for keyword, value in attributes.items():
        setattr(more, keyword, value)
    house.store(hospital, [more])
    house.index(hospital)
    with hospital.scope():
        assert Instance.objects.count() == 3
        return before, Study.objects.get()


def test_with_our_mark_the_study_stays_complete(mercy) -> None:
    """"Objects made by AI never retrigger routing": an image of another maker that the house gave its identity back."""
    before, after = late(mercy, ContributingEquipmentSequence=[contributor("Example Vendor"), contributor("MedicalCloudAIHub")])
    assert (after.state, after.version, after.due_at) == ("complete", before.version, None)
    assert after.number_of_instances == 3


@pytest.mark.parametrize("names", [(), ("Example Vendor",), ("MedicalCloudAIHub of somebody else",)])
def test_without_it_a_late_image_opens_the_study(mercy, names) -> None:
    """"A late image makes a new version of the study": other equipment in between changes nothing."""
    _, after = late(mercy, **({"ContributingEquipmentSequence": [contributor(name) for name in names]} if names else {}))
    assert after.state != "complete"
    assert after.due_at is not None


def test_a_mark_that_cannot_be_read_is_none(mercy) -> None:
    """A broken sequence costs nothing but the mark: the image is kept and counts as an image."""
    [ds] = series_of(1, ContributingEquipmentSequence=[contributor("MedicalCloudAIHub")])
    data = part10(ds)
    at = data.index(b"\x18\x00\x01\xa0SQ")
    item = data.index(b"\xfe\xff\x00\xe0", at)
    object_write(tenant_id=mercy.tenant.id, source=0, trace_id="0" * 32, parts=[data[:item], b"\xfe\xff\x0d\xe0", data[item + 4 :]])
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 1
        assert not Study.objects.get().is_from_ai
