"""C-FIND over the wire (PS3.4 C.4.1): levels, keys, statuses, encodings, C-CANCEL; dcmtk and pynetdicom ask."""

import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import CTImageStorage, Verification

from imaging.dimse.contract import Found
from tests.dicom_files import ct_slice, part10, series_of
from tests.imaging.test_dimse_peers import (
    EXPLICIT,
    RELEASE,
    Hospital,
    associate_request,
    command,
    connected,
    eventually,
    listening,
    p_data,
    pdv,
    peer,
    response,
)
from tests.imaging.test_door import database_away
from tests.imaging.test_query_peers import (
    PATIENT_FIND,
    STUDY_FIND,
    allow,
    ask,
    asking,
    fill,
    identifier,
    refusal,
    serving,
)

pytestmark = [pytest.mark.database, pytest.mark.peers]


@pytest.fixture
def listener() -> Iterator[Any]:
    with serving() as found:
        yield found


@pytest.fixture
def study(mercy) -> list[Dataset]:
    """One study of three slices, and the CT may ask for everything."""
    request = Dataset()
    request.ScheduledProcedureStepID, request.RequestedProcedureID = "SPS7", "RP9"
    slices = series_of(3, StudyID="S 17", PatientComments="left-handed", RequestAttributesSequence=[request])
    fill(mercy, slices)
    allow(mercy)
    return slices


def test_findscu_finds_and_sees_what_is_not_supported(listener, mercy, study) -> None:
    """"unsupported keys returned empty with status 0xFF01", as dcmtk reads it."""
    known = ("-k", "0008,0052=STUDY", "-k", "0010,0010=doe*", "-k", "0020,000d", "-k", "0020,1208")
    names = {"called": mercy.called_ae, "calling": mercy.calling_ae}
    output = peer("findscu", listener.port, "-S", *known, **names)
    assert "exit 0" in output
    assert "Pending)" in output
    assert study[0].StudyInstanceUID in output
    output = peer("findscu", listener.port, "-P", *known, "-k", "0010,0020=P1", "-k", "0018,0050=5", "-k", "0009,0010", **names)
    assert "WarningUnsupportedOptionalKeys" in output
    assert "(0018,0050) DS (no value available)" in output
    assert study[0].StudyInstanceUID in output


def test_every_level_of_both_roots(listener, mercy, study) -> None:
    """"C-FIND (patient, study, series, image level, both roots)", walking down as a workstation does."""
    with asking(listener, mercy) as a:
        for model, top in ((PATIENT_FIND, {"PatientID": "P1"}), (STUDY_FIND, {})):
            if model == PATIENT_FIND:
                patients = ask(a, "PATIENT", model=model, PatientName="", **{"PatientID": "", "PatientComments": ""})
                assert [(p.PatientID, p.PatientName, p.PatientComments) for p in patients] == [("P1", "DOE^JANE", "left-handed")]
            found = ask(a, "STUDY", model=model, StudyID="s 17", StudyTime="", **top)
            assert [(s.StudyID, s.StudyTime, s.RetrieveAETitle) for s in found] == [("S 17", "101500", mercy.called_ae)]
            top = top | {"StudyInstanceUID": found[0].StudyInstanceUID}
            series = ask(a, "SERIES", model=model, Modality="C?", SeriesNumber="1", InstanceAvailability="", **top)
            assert [(s.Modality, s.SeriesNumber, s.InstanceAvailability) for s in series] == [("CT", 1, "ONLINE")]
            top["SeriesInstanceUID"] = series[0].SeriesInstanceUID
            images = ask(a, "IMAGE", model=model, InstanceNumber="", Rows=None, **top)
            assert {(i.SOPInstanceUID, i.InstanceNumber, i.Rows) for i in images} == {
                (ds.SOPInstanceUID, ds.InstanceNumber, 16) for ds in study
            }
            wanted = [study[0].SOPInstanceUID, study[2].SOPInstanceUID]
            assert {i.SOPInstanceUID for i in ask(a, "IMAGE", model=model, SOPInstanceUID=wanted, **top)} == set(wanted)


def test_sequences_match_by_item(listener, mercy, study) -> None:
    """PS3.4 C.2.2.2.6 and PS3.18 table 10.6.1-5: Request Attributes Sequence is matched and returned; others are empty."""
    uid = study[0].StudyInstanceUID
    with asking(listener, mercy) as a:
        for step, count in (("SPS*", 1), ("", 1), ("OTHER", 0)):
            item = Dataset()
            item.ScheduledProcedureStepID, item.RequestedProcedureID = step, ""
            found = ask(a, "SERIES", StudyInstanceUID=uid, RequestAttributesSequence=[item])
            assert len(found) == count
        found = ask(a, "SERIES", StudyInstanceUID=uid, RequestAttributesSequence=[], ReferencedSeriesSequence=[item])
        assert found[0].RequestAttributesSequence[0].RequestedProcedureID == "RP9"
        assert not found[0].ReferencedSeriesSequence


@pytest.mark.parametrize(
    ("model", "level", "keys", "word"),
    [
        (STUDY_FIND, "SERIES", {}, "StudyInstanceUID"),
        (STUDY_FIND, "IMAGE", {"StudyInstanceUID": "1.2"}, "SeriesInstanceUID"),
        (STUDY_FIND, "SERIES", {"StudyInstanceUID": ["1.2", "1.3"]}, "one value"),
        (STUDY_FIND, "SERIES", {"StudyInstanceUID": "1.2.*"}, "one value"),
        (PATIENT_FIND, "STUDY", {"PatientName": "DOE*"}, "PatientID"),
        (PATIENT_FIND, "STUDY", {"PatientID": "P*"}, "one value"),
        (STUDY_FIND, "STUDY", {"SeriesInstanceUID": "1.2"}, "relational"),
        (STUDY_FIND, "PATIENT", {}, "PATIENT"),
        (STUDY_FIND, "", {}, "QueryRetrieveLevel"),
        (STUDY_FIND, "STUDY", {"StudyDate": "2026-03-01"}, "range"),
        (STUDY_FIND, "STUDY", {"StudyDate": "20261399"}, "calendar"),
        (STUDY_FIND, "STUDY", {"StudyTime": "2500"}, "clock"),
        (STUDY_FIND, "STUDY", {"StudyInstanceUID": "1.2.?"}, "UID"),
        (STUDY_FIND, "STUDY", {"PatientName": "DOE\\ROE"}, "more than one value"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_does_not_fit_is_a900_with_a_reason(listener, mercy, study, model, level, keys, word) -> None:
    """"unique keys of upper levels demanded, relational not supported -> 0xA900 with comment"; no value in the comment."""
    with asking(listener, mercy) as a:
        status, comment = refusal(a, level, model=model, **keys)
        assert status == 0xA900
        assert word in comment
        assert len(comment) <= 64
        assert not [value for value in keys.values() if isinstance(value, str) and value in comment]
        assert len(ask(a, "STUDY", PatientName="DOE*")) == 1  # and the association lives on


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_both_encodings_and_a_small_pdu(listener, mercy, study, syntax) -> None:
    """Explicit and implicit little endian as negotiated; answers in pieces for a peer with a small maximum length."""
    fill(mercy, [ct_slice(StudyDescription="x" * 60, PatientID=f"N{n}", Rows=16) for n in range(20)])
    with asking(listener, mercy, STUDY_FIND, syntaxes=syntax) as a:
        found = ask(a, "STUDY", StudyDescription="XX*", NumberOfStudyRelatedInstances="", ModalitiesInStudy="CT")
        assert {(s.StudyDescription, s.NumberOfStudyRelatedInstances) for s in found} == {("x" * 60, 1)}
        assert len(found) == 20
    options = ("-S", "-pdu", "4096", "-k", "0008,0052=STUDY", "-k", "0008,1030=x*", "-k", "0010,0010")
    output = peer("findscu", listener.port, *options, called=mercy.called_ae, calling=mercy.calling_ae)
    assert output.count("Find Response:") == 20


def test_stores_echoes_and_queries_share_an_association(listener, mercy, study) -> None:
    """Nothing is handed over for good: a modality stores, asks, echoes and stores again."""
    with asking(listener, mercy, STUDY_FIND, CTImageStorage, Verification) as a:
        for turn in range(2):
            ds = ct_slice(PatientID=f"MIX{turn}")
            part10(ds)
            assert a.send_c_store(ds).Status == 0
            assert len(ask(a, "STUDY", PatientID="P1")) == 1
            assert a.send_c_echo().Status == 0


def test_combined_date_and_time_is_negotiated(listener, mercy, study) -> None:
    """SOP Class Extended Negotiation (PS3.4 C.5.1.1): combined matching when both sides say so, relational never."""
    keys = {"StudyDate": "20260228-20260302", "StudyTime": "1200-1300"}
    with asking(listener, mercy, STUDY_FIND) as a:
        assert ask(a, "STUDY", **keys) == []
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = STUDY_FIND, b"\x01\x01\x01\x01"
    with asking(listener, mercy, STUDY_FIND, ext_neg=[item]) as a:
        assert a.acceptor.sop_class_extended[STUDY_FIND] == b"\x00\x01\x00\x00"
        assert len(ask(a, "STUDY", **keys)) == 1


class Slow(Hospital):
    """A hospital whose matches come one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def admit(self, **asked: Any) -> Any:
        from dataclasses import replace

        return replace(super().admit(**asked), services=frozenset({"find"}))

    def find(self, *, admission: Any, inquiry: Any) -> Found:
        return Found(0xFF00, self._answers())

    def _answers(self) -> Iterator[bytes]:
        for _ in range(500):
            self.made += 1
            time.sleep(0.01)
            yield struct.pack("<HH2sH", 0x10, 0x4000, b"LT", 40_000) + b"x" * 40_000

    def retrieve(self, **_: Any) -> Any:
        raise AssertionError("nobody asks for it")


def cancel_request(message_id: int) -> bytes:
    body = struct.pack("<HHIH", 0, 0x0100, 2, 0x0FFF) + struct.pack("<HHIH", 0, 0x0120, 2, message_id)
    return p_data(pdv(3, body + struct.pack("<HHIH", 0, 0x0800, 2, 0x0101)))


def test_cancel_is_honoured_within_one_answer() -> None:
    """"C-CANCEL honoured within one answer": after it at most the answer in the making, then 0xFE00; the work stops too."""
    hospital = Slow()
    with listening(hospital, find=hospital.find, retrieve=hospital.retrieve) as listener:
        with asking(listener, type("Ct", (), {"called_ae": "MERCY", "calling_ae": "CT01"}), STUDY_FIND) as a:
            answers, made = [], 0
            for status, _ in a.send_c_find(identifier("STUDY"), STUDY_FIND, msg_id=5):
                answers.append(status.Status)
                if len(answers) == 2:
                    a.send_c_cancel(5, query_model=STUDY_FIND)
                    made = hospital.made
            assert answers[-1] == 0xFE00
            assert len(answers) <= 2 + 6  # pynetdicom reads slowly what was on its way already
            assert hospital.made <= made + 6
        output = peer("findscu", listener.port, "-S", "--cancel", "2", "-k", "0008,0052=STUDY")
        assert "MatchingTerminatedDueToCancelRequest" in output
        with connected(listener.port, associate_request(sop_class=STUDY_FIND, syntax=EXPLICIT, max_length=0)) as sock:
            find = p_data(pdv(3, command(0x20, sop_class=STUDY_FIND))) + p_data(pdv(2, b"\x08\0\x52\0CS\x06\0STUDY "))
            sock.sendall(find + cancel_request(9))  # in one segment, before the first answer is out
            elements = response(sock)
            assert (elements[0x0900], elements[0x0120]) == (b"\x00\xfe", b"\x09\0")
            sock.sendall(cancel_request(9) + RELEASE)  # too late, and harmless
            assert sock.recv(6)[0] == 6


def test_cancel_stops_a_fast_archive_too() -> None:
    """"C-CANCEL honoured within one answer": answers that cost nothing don't run ahead of a peer that has enough."""
    hospital = Slow()

    def find(**_: object) -> Found:
        return Found(0xFF00, (b"\x08\0\x52\0CS\x06\0STUDY " for _ in range(200_000)))

    request = associate_request(sop_class=STUDY_FIND, syntax=EXPLICIT)
    with listening(hospital, find=find, retrieve=hospital.retrieve) as listener, connected(listener.port, request) as sock:
        sock.sendall(p_data(pdv(3, command(0x20, sop_class=STUDY_FIND))) + p_data(pdv(2, b"\x08\0\x52\0CS\x06\0STUDY ")))
        response(sock)
        sock.sendall(cancel_request(9))
        answers = 1
        while (elements := response(sock))[0x0900] == b"\x00\xff":
            answers += 1
        assert elements[0x0900] == b"\x00\xfe"
        assert answers < 100_000


def test_a_peer_that_leaves_stops_the_work() -> None:
    """A release or an abort instead of a cancel: nothing is made for nobody, and the end is recorded."""
    hospital = Slow()
    with listening(hospital, find=hospital.find, retrieve=hospital.retrieve) as listener:
        for farewell, outcome in ((RELEASE, "released"), (struct.pack(">BxIxxBB", 7, 4, 0, 0), "aborted"), (b"", "lost")):
            hospital.outcomes.clear()
            with connected(listener.port, associate_request(sop_class=STUDY_FIND, syntax=EXPLICIT)) as sock:
                sock.sendall(p_data(pdv(3, command(0x20, sop_class=STUDY_FIND))) + p_data(pdv(2, b"\x08\0\x52\0CS\x06\0STUDY ")))
                response(sock)
                sock.sendall(farewell)
                if outcome == "lost":
                    sock.close()
                assert eventually(lambda: bool(hospital.outcomes))
            assert hospital.outcomes[0][0] == outcome
        made = hospital.made
        time.sleep(0.1)
        assert hospital.made == made


@pytest.mark.parametrize("garbage", [b"\xff" * 40, b"\x08\0", b"\x08\0\x52\0CS\xff\xff", b"\x10\0\x10\0PN\x04\0DOE ", b"\0" * 64])
def test_an_identifier_that_is_none_is_refused(listener, mercy, study, garbage) -> None:
    """Everything from outside is hostile: A900, no traceback, and the association goes on."""
    request = associate_request(called=mercy.called_ae, calling=mercy.calling_ae, sop_class=STUDY_FIND, syntax=EXPLICIT)
    with connected(listener.port, request) as sock:
        for _ in range(2):
            sock.sendall(p_data(pdv(3, command(0x20, sop_class=STUDY_FIND))) + p_data(pdv(2, garbage)))
            assert response(sock)[0x0900] == b"\x00\xa9"


def test_a_second_request_during_an_answer_ends_the_association() -> None:
    """One operation at a time was agreed (no asynchronous window): a peer that breaks it is aborted, not served twice."""
    hospital = Slow()
    with listening(hospital, find=hospital.find, retrieve=hospital.retrieve) as listener:
        with connected(listener.port, associate_request(sop_class=STUDY_FIND, syntax=EXPLICIT)) as sock:
            find = p_data(pdv(3, command(0x20, sop_class=STUDY_FIND))) + p_data(pdv(2, b"\x08\0\x52\0CS\x06\0STUDY "))
            sock.sendall(find + find)
            assert eventually(lambda: bool(hospital.outcomes))
        assert hospital.outcomes[0][0] == "aborted"
        assert hospital.made < 10


def test_while_the_database_is_away_a_query_is_a700(listener, mercy, study) -> None:
    """A query cannot be answered from memory: 0xA700 and a reason, and when the database is back the same association works."""
    with asking(listener, mercy) as a:
        assert len(ask(a, "STUDY", PatientID="P1")) == 1
        with database_away():
            assert refusal(a, "STUDY", PatientID="P1")[0] == 0xA700
        assert len(ask(a, "STUDY", PatientID="P1")) == 1
