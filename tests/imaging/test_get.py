"""C-GET (PS3.4 C.4.3): objects come back over the peer's own association, byte for byte, counted, cancellable."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import CTImageStorage, SecondaryCaptureImageStorage

from imaging.inbox import object_write
from imaging.models import Instance
from imaging.storage import object_path
from journal.models import AuditEvent
from tests import house
from tests.dicom_files import ct_slice, series_of
from tests.imaging.test_dimse_peers import peer, real_file
from tests.imaging.test_query_peers import (
    PATIENT_GET,
    STUDY_GET,
    allow,
    data_set_bytes,
    fill,
    identifier,
    received,
    roles,
    serving,
)

pytestmark = [pytest.mark.database, pytest.mark.peers]
REFERENCE = "eb5b3a66f37c"  # SHA-1 of the pixels of ../shared/dicom/syntax/ct-*.dcm, int16 little endian


@pytest.fixture
def listener() -> Iterator[Any]:
    with serving() as found:
        yield found


def kept(hospital: Any) -> dict[str, bytes]:
    """Data sets in the archive by SOP Instance UID, as bytes."""
    with hospital.scope():
        rows = list(Instance.objects.values_list("sop_instance_uid", "key"))
    return {uid: data_set_bytes(object_path(key)) for uid, key in rows}


class Getter:
    """A peer that keeps what it is sent and answers as it is told."""

    def __init__(self, listener: Any, hospital: Any, syntaxes: Any = None, classes: Any = (CTImageStorage,)) -> None:
        self.objects: list[Dataset] = []
        self.syntaxes: set[str] = set()
        self.answers: list[int] = []
        self.on_store: Any = None
        ae = AE(ae_title=hospital.calling_ae)
        for model in (STUDY_GET, PATIENT_GET):
            ae.add_requested_context(model)
        for sop_class in classes:
            ae.add_requested_context(sop_class, syntaxes)
        self.association = ae.associate(
            "127.0.0.1", listener.port, ae_title=hospital.called_ae, ext_neg=roles(*classes) if classes else [],
            evt_handlers=[(evt.EVT_C_STORE, self._store)],
        )
        assert self.association.is_established

    def _store(self, event: evt.Event) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        self.objects.append(ds)
        self.syntaxes.add(str(event.context.transfer_syntax))
        if self.on_store:
            self.on_store()
        return self.answers.pop(0) if self.answers else 0

    def get(self, level: str, *, model: str = STUDY_GET, msg_id: int = 1, **keys: Any) -> list[tuple[Dataset, Dataset | None]]:
        return list(self.association.send_c_get(identifier(level, **keys), model, msg_id=msg_id))


@pytest.fixture
def getting(listener) -> Iterator[Any]:
    """Makes Getters and lets their associations go."""
    made: list[Getter] = []

    def make(hospital: Any, **options: Any) -> Getter:
        made.append(Getter(listener, hospital, **options))
        return made[-1]

    yield make
    for getter in made:
        getter.association.release()


def counts(status: Dataset) -> tuple[int, int, int]:
    return status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations, status.NumberOfWarningSuboperations


def test_a_study_of_150_slices_comes_back_byte_for_byte(listener, mercy, tmp_path) -> None:
    """"a study of 150 slices by C-GET ... equals the stored bytes", with dcmtk's getscu keeping what it gets unchanged."""
    slices = series_of(150)
    fill(mercy, [*slices, ct_slice()])
    allow(mercy)
    uid = slices[0].StudyInstanceUID
    output = peer(
        "getscu", listener.port, "-S", "+B", "-od", str(tmp_path), "-k", "0008,0052=STUDY", "-k", f"0020,000d={uid}",
        called=mercy.called_ae, calling=mercy.calling_ae,
    )  # fmt: skip
    assert "exit 0" in output
    stored = kept(mercy)
    found = received(tmp_path)
    assert set(found) == {ds.SOPInstanceUID for ds in slices}
    assert all(found[uid] == stored[uid] for uid in found)


def test_counts_of_sub_operations(getting, mercy) -> None:
    """"sub-operation counts": each Pending says how many remain and are done, the final one how many of each."""
    slices = series_of(5)
    fill(mercy, slices)
    allow(mercy)
    getter = getting(mercy)
    getter.answers = [0, 0xB000, 0, 0, 0]
    answers = getter.get("STUDY", StudyInstanceUID=slices[0].StudyInstanceUID)
    assert [status.Status for status, _ in answers] == [0xFF00] * 4 + [0xB000]
    assert [status.NumberOfRemainingSuboperations for status, _ in answers[:-1]] == [4, 3, 2, 1]
    assert counts(answers[-1][0]) == (4, 0, 1)
    assert [ds.InstanceNumber for ds in getter.objects] == [1, 2, 3, 4, 5]  # in the order people look at them
    with mercy.scope():
        event = AuditEvent.objects.get(action="dicom.get")
        study_id = Instance.objects.values_list("study_id", flat=True).first()
    assert (event.object_type, event.object_id, event.detail) == ("Study", str(study_id), {})


def test_what_failed_is_listed(getting, mercy) -> None:
    """"failed UID list (0008,0058)", "warning status 0xB000 when some failed"; 0xA702 when all did."""
    slices = series_of(3)
    fill(mercy, slices)
    allow(mercy)
    with mercy.scope():
        object_path(Instance.objects.get(sop_instance_uid=slices[2].SOPInstanceUID).key).unlink()
    getter = getting(mercy)
    getter.answers = [0, 0xA700]
    status, failed = getter.get("STUDY", StudyInstanceUID=slices[0].StudyInstanceUID)[-1]
    assert (status.Status, counts(status)) == (0xB000, (1, 2, 0))
    assert failed is not None
    assert list(failed.FailedSOPInstanceUIDList) == [slices[1].SOPInstanceUID, slices[2].SOPInstanceUID]
    status, failed = getter.get("IMAGE", **{
        "StudyInstanceUID": slices[0].StudyInstanceUID, "SeriesInstanceUID": slices[0].SeriesInstanceUID,
        "SOPInstanceUID": slices[2].SOPInstanceUID,
    })[-1]  # fmt: skip
    assert (status.Status, counts(status)) == (0xA702, (0, 1, 0))


def test_without_the_role_nothing_can_be_sent(getting, mercy) -> None:
    """"role selection for C-GET": a peer that did not ask to be SCP of the class gets 0xA702, not an image."""
    ds = ct_slice()
    fill(mercy, [ds])
    allow(mercy)
    getter = getting(mercy, classes=())
    status, failed = getter.get("STUDY", StudyInstanceUID=ds.StudyInstanceUID)[-1]
    assert (status.Status, counts(status), status.ErrorComment) == (0xA702, (0, 1, 0), "no presentation context")
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == ds.SOPInstanceUID
    assert not getter.objects


def test_levels_and_lists(getting, mercy) -> None:
    """PS3.4 C.4.3.1.3: patient, study, series and image level; lists of UIDs; no match is a success with nothing."""
    study = generate_uid()
    first, second = series_of(2, StudyInstanceUID=study), series_of(3, StudyInstanceUID=study, SeriesNumber=2)
    fill(mercy, [*first, *second, *series_of(1, PatientID="OTHER")])
    allow(mercy)
    getter = getting(mercy)
    series = {"StudyInstanceUID": study, "SeriesInstanceUID": first[0].SeriesInstanceUID}
    for level, keys, model, count in (
        ("PATIENT", {"PatientID": "P1"}, PATIENT_GET, 5),
        ("STUDY", {"PatientID": "P1", "StudyInstanceUID": study}, PATIENT_GET, 5),
        ("STUDY", {"PatientID": "OTHER", "StudyInstanceUID": study}, PATIENT_GET, 0),
        ("SERIES", series, STUDY_GET, 2),
        ("SERIES", series | {"SeriesInstanceUID": [first[0].SeriesInstanceUID, second[0].SeriesInstanceUID]}, STUDY_GET, 5),
        ("IMAGE", series | {"SOPInstanceUID": [ds.SOPInstanceUID for ds in first]}, STUDY_GET, 2),
        ("STUDY", {"StudyInstanceUID": "1.2.3"}, STUDY_GET, 0),
    ):
        getter.objects.clear()
        status, _ = getter.get(level, model=model, **keys)[-1]
        assert (status.Status, len(getter.objects)) == (0, count), level
    for level, keys in (("STUDY", {}), ("STUDY", {"StudyInstanceUID": "1.*"}), ("SERIES", {"SeriesInstanceUID": "1.2"})):
        assert getter.get(level, **keys)[-1][0].Status == 0xA900


@pytest.mark.parametrize("name", ["implicit-le", "big-endian", "deflated", "jpegls", "j2k-lossless", "rle"])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_peer_that_takes_only_uncompressed_gets_uncompressed(getting, mercy, name, syntax) -> None:
    """"decompress (pydicom) when the peer takes only uncompressed": the same object, the same pixels."""
    data = real_file(f"syntax/ct-{name}.dcm").read_bytes()
    object_write(tenant_id=mercy.tenant.id, source=0, trace_id="0" * 32, parts=[data])
    house.index(mercy)
    allow(mercy)
    with mercy.scope():
        row = Instance.objects.select_related("study").get()
    getter = getting(mercy, syntaxes=syntax)
    status, _ = getter.get("STUDY", StudyInstanceUID=row.study.study_uid)[-1]
    assert (status.Status, counts(status)) == (0, (1, 0, 0))
    assert getter.syntaxes == {str(syntax)}
    ds = getter.objects[0]
    assert ds.SOPInstanceUID == row.sop_instance_uid
    assert hashlib.sha1(ds.pixel_array.astype("<i2").tobytes(), usedforsecurity=False).hexdigest().startswith(REFERENCE)


def test_the_stored_syntax_goes_first(listener, mercy) -> None:
    """"original transfer syntax first": a peer that takes JPEG 2000 too gets the stored bytes."""
    path = real_file("syntax/ct-j2k-lossless.dcm")
    object_write(tenant_id=mercy.tenant.id, source=0, trace_id="0" * 32, parts=[path.read_bytes()])
    house.index(mercy)
    allow(mercy)
    ae = AE(ae_title=mercy.calling_ae)
    raw: list[tuple[str, bytes]] = []

    def store(event: evt.Event) -> int:
        raw.append((str(event.context.transfer_syntax), event.request.DataSet.getvalue()))
        return 0

    syntaxes = (ExplicitVRLittleEndian, "1.2.840.10008.1.2.4.90")  # each in a context of its own
    contexts = [build_context(STUDY_GET), *(build_context(CTImageStorage, syntax) for syntax in syntaxes)]
    association = ae.associate(
        "127.0.0.1", listener.port, contexts, ae_title=mercy.called_ae, ext_neg=roles(),
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    uid = dcmread(path, stop_before_pixels=True).StudyInstanceUID
    status = list(association.send_c_get(identifier("STUDY", StudyInstanceUID=uid), STUDY_GET))[-1][0]
    association.release()
    assert status.Status == 0
    assert raw == [("1.2.840.10008.1.2.4.90", data_set_bytes(path))]


def test_an_object_that_cannot_be_decoded_fails_alone(getting, mercy) -> None:
    """A few bytes that claim 65535 x 65535 pixels: refused before anything is allocated, the other object arrives."""
    bomb = dcmread(real_file("broken/oob-65535.dcm"))
    good = ct_slice(StudyInstanceUID=bomb.StudyInstanceUID, PatientID=bomb.get("PatientID", ""), PatientName=bomb.get("PatientName"))
    good.PatientBirthDate = bomb.get("PatientBirthDate", "")
    fill(mercy, [bomb, good])
    allow(mercy)
    getter = getting(mercy, syntaxes=ImplicitVRLittleEndian, classes=(CTImageStorage, SecondaryCaptureImageStorage))
    status, failed = getter.get("STUDY", StudyInstanceUID=bomb.StudyInstanceUID)[-1]
    assert (status.Status, counts(status)) == (0xB000, (1, 1, 0))
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == bomb.SOPInstanceUID
    assert [ds.SOPInstanceUID for ds in getter.objects] == [good.SOPInstanceUID]


def test_cancel_within_one_object(getting, mercy) -> None:
    """"C-CANCEL honoured within one instance": 0xFE00 with what remains, and the association is good for more."""
    slices = series_of(30)
    fill(mercy, slices)
    allow(mercy)
    getter = getting(mercy)

    def stop() -> None:
        if len(getter.objects) == 3:
            getter.association.send_c_cancel(7, query_model=STUDY_GET)

    getter.on_store = stop
    status, _ = getter.get("STUDY", msg_id=7, StudyInstanceUID=slices[0].StudyInstanceUID)[-1]
    assert status.Status == 0xFE00
    assert 3 <= len(getter.objects) <= 5
    assert status.NumberOfRemainingSuboperations == 30 - len(getter.objects)
    getter.on_store = None
    getter.objects.clear()
    assert getter.get("STUDY", StudyInstanceUID=slices[0].StudyInstanceUID)[-1][0].Status == 0
    assert len(getter.objects) == 30


def test_large_objects_go_out_in_many_pdus(listener, mercy, tmp_path: Path) -> None:
    """An object of many fragments, for a peer with a small maximum length: the same bytes."""
    ds = ct_slice(PixelData=bytes(range(256)) * 12_000, Rows=1500, Columns=1024)
    fill(mercy, [ds])
    allow(mercy)
    output = peer(
        "getscu", listener.port, "-S", "+B", "-pdu", "4096", "-od", str(tmp_path), "-k", "0008,0052=STUDY",
        "-k", f"0020,000d={ds.StudyInstanceUID}", called=mercy.called_ae, calling=mercy.calling_ae,
    )  # fmt: skip
    assert "exit 0" in output
    assert received(tmp_path) == kept(mercy)
