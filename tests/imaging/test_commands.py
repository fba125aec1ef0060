"""The operator's commands of imaging."""

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from imaging.models import Node, Study
from tests import house
from tests.dicom_files import ct_slice


def test_node_add_is_idempotent_and_moves_an_address(mercy, capsys) -> None:
    """A device that was moved keeps its one row."""
    for address in (None, "10.1.2.3"):
        call_command("node_add", hospital=mercy.slug, ae="MR7", address=address)
    with mercy.scope():
        assert [(n.ae_title, n.addresses) for n in Node.objects.filter(ae_title="MR7")] == [("MR7", ["10.1.2.3"])]


def test_node_add_says_who_gets_results(mercy) -> None:
    """What is not given stays."""
    for given in ({"results_as": "sr+pdf"}, {}):
        call_command("node_add", hospital=mercy.slug, ae="PACS", **given)
        with mercy.scope():
            assert Node.objects.get(ae_title="PACS").results_as == "sr+pdf"


@pytest.mark.parametrize("title", ["", "X" * 17, "A\\B", "É"])
def test_node_add_refuses_what_is_no_ae_title(mercy, title) -> None:
    with pytest.raises(CommandError, match="AE title"):
        call_command("node_add", hospital=mercy.slug, ae=title)


def test_study_complete_forces(mercy) -> None:
    """"study.completed (quiet time ..., or expected series, or force)"."""
    mercy.tenant.quiet_seconds = 3600
    mercy.tenant.save()
    ds = ct_slice()
    house.store(mercy, [ds])
    house.index(mercy)
    house.complete(mercy)
    with mercy.scope():
        assert Study.objects.get().state == "receiving"
    call_command("study_complete", hospital=mercy.slug, study=ds.StudyInstanceUID)
    with mercy.scope():
        assert Study.objects.get().version == 1


def test_an_expected_count_completes_at_once(mercy) -> None:
    """The modality said how many images there are (0020,1208): no quiet time is waited for."""
    mercy.tenant.quiet_seconds = 3600
    mercy.tenant.save()
    house.store(mercy, [ct_slice(NumberOfStudyRelatedInstances=1)])
    house.index(mercy)
    house.complete(mercy)
    with mercy.scope():
        assert Study.objects.get().state == "complete"
