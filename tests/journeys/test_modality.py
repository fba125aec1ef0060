"""A modality's day in the whole house: worklist, images, commitment; listener, workers and beat as processes."""

import os
import signal
from io import StringIO

import pytest
from django.core.management import call_command
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, ModalityWorklistInformationFind, StorageCommitmentPushModel

from imaging.models import CommitmentRequest, Order, Study
from imaging.nodes import node_add
from tests.dicom_files import part10, series_of
from tests.imaging.scu_peers import scp
from tests.imaging.test_commitment import Modality, references

pytestmark = [pytest.mark.stack, pytest.mark.database, pytest.mark.peers, pytest.mark.xdist_group("stack")]


def test_order_images_commitment_and_a_worker_killed(house, mercy) -> None:
    """"**Storage Commitment** (N-EVENT-REPORT on a new association, retried...), **Modality Worklist** answered from
    `imaging.Order`": the order by command, the step found, its images stored under its UID and number, and a commitment that
    survives the death of the worker that should report it.
    """
    call_command(
        "order_upsert", hospital=mercy.slug, accession="ACC1", patient_id="P1", name="DOE^JANE", birth_date="19600102",
        modality="CT", station=mercy.calling_ae, date="20260705", time="1015", stdout=StringIO(),
    )  # fmt: skip
    modality = Modality()
    with mercy.scope():
        node_add(
            ae_title=mercy.calling_ae, services=("store", "commit", "worklist"), host="127.0.0.1", port=house.archive_port
        )
    ae = AE(ae_title=mercy.calling_ae)
    for sop_class in (ModalityWorklistInformationFind, CTImageStorage, StorageCommitmentPushModel):
        ae.add_requested_context(sop_class)
    association = ae.associate("127.0.0.1", house.stack.ports.dimse, ae_title=mercy.called_ae)
    assert association.is_established
    asked, item = Dataset(), Dataset()
    item.ScheduledStationAETitle, item.ScheduledProcedureStepStartDate = mercy.calling_ae, "20260705"
    asked.AccessionNumber = asked.PatientName = asked.StudyInstanceUID = ""
    asked.ScheduledProcedureStepSequence = [item]
    found = [ds for _, ds in association.send_c_find(asked, ModalityWorklistInformationFind) if ds is not None]
    assert [(ds.AccessionNumber, ds.PatientName) for ds in found] == [("ACC1", "DOE^JANE")]
    images = series_of(3, StudyInstanceUID=found[0].StudyInstanceUID, AccessionNumber="ACC1")
    for ds in images:
        part10(ds)
        assert association.send_c_store(ds).Status == 0
    os.kill(house.stack.pids()["transfers"], signal.SIGKILL)
    status, _ = association.send_n_action(references(images), 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
    assert status.Status == 0
    association.release()

    def attempted() -> bool:
        with mercy.scope():
            return CommitmentRequest.objects.filter(attempts__gt=0).exists()

    house.wait(attempted, "a report in vain: the modality does not listen yet")
    handlers = [(evt.EVT_N_EVENT_REPORT, modality.hear)]
    with scp(mercy.calling_ae, [StorageCommitmentPushModel], handlers, port=house.archive_port):
        house.wait(lambda: modality.reports, "the report")
    event_type, report, asker, _ = modality.reports[0]
    assert (event_type, asker, len(report.ReferencedSOPSequence)) == (1, mercy.called_ae, 3)

    def ordered() -> bool:
        with mercy.scope():
            return Study.objects.filter(order=Order.objects.get()).exists()

    house.wait(ordered, "the study with its order")
