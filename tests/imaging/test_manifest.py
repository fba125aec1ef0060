"""Every real file of ../shared/dicom over the wire, twice, against the verdict in its MANIFEST.md, and back again."""

import functools
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from pynetdicom import AE, evt

from imaging.dimse import messages
from imaging.header import HeaderError, header_read
from imaging.models import Instance, Study, WorkItem
from imaging.part10 import part10_split
from imaging.storage import object_path
from tests import house
from tests.imaging.test_dimse_peers import SHARED, connected, need, next_pdu, response
from tests.imaging.test_dimse_peers import associate_request as request_bytes
from tests.imaging.test_query_peers import STUDY_GET, allow, identifier, roles, serving

pytestmark = [pytest.mark.peers]
IMPLICIT = "1.2.840.10008.1.2"
SOP_CLASS, SOP_INSTANCE, STUDY_UID = 0x00080016, 0x00080018, 0x0020000D


@functools.cache
def manifest() -> dict[str, str]:
    """Path -> expected verdict, as the table says it."""
    path = SHARED / "MANIFEST.md"
    if not path.exists():
        return {}
    rows = (line.split("|") for line in path.read_text().splitlines() if line.startswith("| ") and "/" in line.split("|")[1])
    return {cells[1].strip(): cells[8].strip() for cells in rows}


FILES = sorted(name for name in manifest() if name.endswith(".dcm")) or ["MANIFEST.md"]
SERIES = sorted(name for name in manifest() if name.endswith(".zip")) or ["MANIFEST.md"]


@pytest.fixture(scope="module")
def listener() -> Iterator[Any]:
    with serving() as found:
        yield found


class Sent:
    """One file as a sender would give it: its class, syntax, UID and data set, guessed where it does not say."""

    def __init__(self, content: bytes) -> None:
        meta, offset = part10_split(content) if content[128:132] == b"DICM" else ({}, 0)
        self.data = content[offset:]
        self.syntax = meta.get(0x00020010) or IMPLICIT
        try:
            header = header_read(self.data, transfer_syntax_uid=self.syntax, wanted=frozenset({SOP_CLASS, SOP_INSTANCE, STUDY_UID}))
            found = [header.uid(tag) for tag in (SOP_CLASS, SOP_INSTANCE, STUDY_UID)]
        except HeaderError:
            found = ["", "", ""]
        self.sop_class = found[0] or meta.get(0x00020002) or "1.2.840.10008.5.1.4.1.1.7"
        self.uid = found[1] or meta.get(0x00020003) or "1.2.3"
        self.study_uid = found[2]


def send(listener: Any, hospital: Any, *objects: Sent) -> list[tuple[int, str]]:
    """Over one association of one context; status and comment of each."""
    answers = []
    request = request_bytes(
        called=hospital.called_ae, calling=hospital.calling_ae, sop_class=objects[0].sop_class, syntax=objects[0].syntax
    )
    with connected(listener.port) as sock:
        sock.settimeout(20)
        sock.sendall(request)
        assert next_pdu(sock)[0] == 2
        for sent in objects:
            sock.sendall(store_message(sent))
            said = response(sock)
            answers.append((int.from_bytes(said[0x0900], "little"), said.get(0x0902, b"").decode().strip()))
    return answers


def store_message(sent: Sent) -> bytes:
    command = messages.store_request_bytes(message_id=1, sop_class_uid=sent.sop_class, sop_instance_uid=sent.uid)
    pdus = [*messages.command_pdus(1, command, 131072), *messages.data_pdus(1, sent.data, 131072)]
    return b"".join(pdus)


def retrieved(listener: Any, hospital: Any, sent: Sent) -> dict[str, bytes]:
    """The study by C-GET in the syntax it was sent in: data sets as they came over the wire."""
    allow(hospital, "store", "find", "get")
    came: dict[str, bytes] = {}

    def keep(event: Any) -> int:
        came[str(event.request.AffectedSOPInstanceUID)] = event.encoded_dataset(include_meta=False)
        return 0

    ae = AE(ae_title=hospital.calling_ae)
    ae.add_requested_context(STUDY_GET)
    ae.add_requested_context(sent.sop_class, [sent.syntax])
    association = ae.associate(
        "127.0.0.1", listener.port, ae_title=hospital.called_ae, ext_neg=roles(sent.sop_class), evt_handlers=[(evt.EVT_C_STORE, keep)]
    )
    assert association.is_established
    for _ in association.send_c_get(identifier("STUDY", StudyInstanceUID=sent.study_uid), STUDY_GET):
        pass
    association.release()
    return came


@pytest.mark.parametrize("name", FILES)
def test_a_real_file_gets_the_verdict_of_the_manifest_twice(name: str, listener: Any, mercy: Any) -> None:
    """"Every file of `../shared/dicom` by C-STORE and once more as a duplicate: the verdict of the manifest; bytes retrieved
    identical to bytes sent (group 2 aside)"."""
    need((SHARED / name).exists() and bool(manifest()), f"../shared/dicom/{name}")
    sent, expected = Sent((SHARED / name).read_bytes()), manifest()[name]
    for round_ in (1, 2):
        ((status, comment),) = send(listener, mercy, sent)
        house.index(mercy)
        with mercy.scope():
            rows = list(Instance.objects.values_list("sop_instance_uid", "key"))
        if expected.startswith("REJECT") or (name == "broken/no-meta.dcm"):
            assert status not in (0, 0xB000), f"{name}: round {round_}"
            assert comment, "a refusal without a reason is never forgiven"
            assert rows == []
            continue
        assert status == 0, f"{name}: {status:04X} {comment}"
        assert [uid for uid, _ in rows] == [sent.uid]
        kept = object_path(rows[0][1]).read_bytes()
        assert kept[part10_split(kept)[1] :] == sent.data
        with mercy.scope():
            assert not WorkItem.objects.filter(kind="duplicate").exists(), "the same again is idempotent success"
    if not expected.startswith("REJECT") and name != "broken/no-meta.dcm":
        assert retrieved(listener, mercy, sent) == {sent.uid: sent.data}


@pytest.mark.parametrize("name", SERIES)
def test_a_real_series_comes_back_as_it_was_sent(name: str, listener: Any, mercy: Any) -> None:
    """The three series of the manifest, each over one association, and again: bytes retrieved identical to bytes sent."""
    need((SHARED / name).exists() and bool(manifest()), f"../shared/dicom/{name}")
    with zipfile.ZipFile(io.BytesIO((SHARED / name).read_bytes())) as archive:
        slices = [Sent(archive.read(info)) for info in archive.infolist() if not info.is_dir() and info.file_size > 10_000]
    for _ in range(2):
        assert {status for status, _ in send(listener, mercy, *slices)} == {0}
        house.index(mercy)
    with mercy.scope():
        assert Study.objects.get().number_of_instances == len(slices)
        assert not WorkItem.objects.exists()
    assert retrieved(listener, mercy, slices[0]) == {sent.uid: sent.data for sent in slices}


def test_two_people_under_one_number_and_two_contents_under_one_uid_are_work_items(listener: Any, mercy: Any) -> None:
    """The manifest's pairs: collision-a/b are two persons with one PatientID; bad-vr and rtdose share a UID with other content."""
    names = ["broken/collision-a.dcm", "broken/collision-b.dcm", "objects/rtdose-15f.dcm", "broken/bad-vr.dcm"]
    for name in names:
        need((SHARED / name).exists(), f"../shared/dicom/{name}")
        assert send(listener, mercy, Sent((SHARED / name).read_bytes()))[0][0] == 0
        house.index(mercy)
    with mercy.scope():
        assert sorted(WorkItem.objects.values_list("kind", flat=True)) == ["duplicate", "patient-conflict"]
        kept = object_path(Instance.objects.get(sop_instance_uid=Sent((SHARED / names[2]).read_bytes()).uid).key).read_bytes()
    assert kept[part10_split(kept)[1] :] == Sent((SHARED / names[2]).read_bytes()).data, "the first one stays"


def test_one_image_in_six_syntaxes_is_stored_once_and_the_rest_kept_aside(listener: Any, mercy: Any) -> None:
    """"The first store is new; each later one is a duplicate with the same content in another encoding": nothing is lost."""
    names = sorted(name for name in manifest() if name.startswith("syntax/ct-"))
    need(len(names) == 6, "the six ../shared/dicom/syntax/ct-*.dcm")
    for name in names:
        assert send(listener, mercy, Sent((SHARED / name).read_bytes()))[0][0] == 0
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 1
        assert WorkItem.objects.filter(kind="duplicate").count() == 5
