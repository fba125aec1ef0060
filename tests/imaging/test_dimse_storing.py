"""What is stored arrives unchanged and is answered (PS3.4 Annex B, PS3.7 9.1)."""

import struct
import time
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt

from imaging.dimse.contract import AssociationLimits, StoreAnswer
from imaging.part10 import file_meta_bytes, part10_split
from tests.imaging.test_dimse_peers import (
    CT,
    CT_REQUEST,
    ECHO,
    EXPLICIT,
    IMPLICIT,
    RELEASE,
    Hospital,
    associate_request,
    command,
    connected,
    eventually,
    listening,
    next_pdu,
    p_data,
    pdv,
    peer,
    real_file,
    response,
    status,
    store_pdus,
)

COMMITMENT = "1.2.840.10008.1.20.1"
SYNTAXES = {
    "syntax/ct-implicit-le.dcm": "1.2.840.10008.1.2",
    "real/lung-ct-lctsc.dcm": "1.2.840.10008.1.2.1",
    "syntax/ct-deflated.dcm": "1.2.840.10008.1.2.1.99",
    "syntax/ct-big-endian.dcm": "1.2.840.10008.1.2.2",
    "real/us-cine-30f.dcm": "1.2.840.10008.1.2.4.50",
    "real/mammo-ge-mlo.dcm": "1.2.840.10008.1.2.4.70",
    "syntax/ct-jpegls.dcm": "1.2.840.10008.1.2.4.80",
    "syntax/ct-j2k-lossless.dcm": "1.2.840.10008.1.2.4.90",
    "syntax/htj2k-rgb-lossless.dcm": "1.2.840.10008.1.2.4.201",
    "syntax/ct-rle.dcm": "1.2.840.10008.1.2.5",
    "syntax/seg-deflated-frame.dcm": "1.2.840.10008.1.2.8.1",
    "broken/unknown-sop-class.dcm": "1.2.840.10008.1.2",
    "broken/deep-nesting.dcm": "1.2.840.10008.1.2.1",
    "objects/seg-labelmap.dcm": "1.2.840.10008.1.2.1",
}


def sent_as_it_is(port: int, path: Path, monkeypatch: pytest.MonkeyPatch, **proposal: Any) -> Dataset:
    """pynetdicom as SCU in the mode that sends a file's own bytes; the response."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    meta, _ = part10_split(path.read_bytes())
    entity = AE(ae_title="CT01")
    entity.add_requested_context(meta[0x00020002], proposal.get("syntaxes", [meta[0x00020010]]))
    association = entity.associate("127.0.0.1", port, ae_title="MERCY")
    assert association.is_established
    try:
        return association.send_c_store(path)
    finally:
        association.release()


class TestWhatArrives:
    @pytest.mark.parametrize("name", SYNTAXES)
    def test_is_byte_for_byte_what_was_sent(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """"Received bytes are kept unchanged", in every transfer syntax, private and unparsable objects included."""
        path, hospital = real_file(name), Hospital()
        meta, offset = part10_split(path.read_bytes())
        with listening(hospital) as listener:
            answer = sent_as_it_is(listener.port, path, monkeypatch)
        assert answer.Status == 0
        (got,) = hospital.received
        assert got["dataset"] == path.read_bytes()[offset:]
        assert got["transfer_syntax_uid"] == meta[0x00020010] == SYNTAXES[name]
        assert (got["sop_class_uid"], got["sop_instance_uid"]) == (meta[0x00020002], meta[0x00020003])
        assert hospital.outcomes == [("released", 1)]

    @pytest.mark.parametrize(
        ("option", "name"),
        [
            ("-xs", "real/mammo-ge-mlo.dcm"),
            ("-xy", "real/us-cine-30f.dcm"),
            ("-xt", "syntax/ct-jpegls.dcm"),
            ("-xv", "syntax/ct-j2k-lossless.dcm"),
            ("-xr", "syntax/ct-rle.dcm"),
            ("-xi", "syntax/ct-implicit-le.dcm"),
        ],
    )
    def test_from_storescu_keeps_the_syntax_it_proposed(self, option: str, name: str) -> None:
        """"Every storable transfer syntax accepted as it is": storescu sends the compressed stream, and we keep it."""
        path, hospital = real_file(name), Hospital()
        with listening(hospital) as listener:
            said = peer("storescu", listener.port, option, files=[path])
        assert "exit 0" in said, said
        (got,) = hospital.received
        assert got["transfer_syntax_uid"] == SYNTAXES[name]
        assert path.read_bytes()[-2000:-8] in got["dataset"]

    def test_from_dcmsend_is_a_whole_folder_on_one_association(self) -> None:
        """dcmsend negotiates each file's own syntax: mixed classes and syntaxes share one association."""
        names = ("real/lung-ct-lctsc.dcm", "real/us-palette.dcm", "objects/pdf.dcm", "objects/sr-tid1500.dcm")
        files, hospital = [real_file(name) for name in names], Hospital()
        with listening(hospital) as listener:
            said = peer("dcmsend", listener.port, files=files)
        assert "exit 0" in said, said
        assert len(hospital.received) == 4
        assert hospital.outcomes == [("released", 4)]

    def test_takes_the_syntax_that_the_peer_proposed_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """"Per-context as-sent order": of several we could keep the peer's first wins, so that it need not convert."""
        path, hospital = real_file("syntax/ct-implicit-le.dcm"), Hospital()
        with listening(hospital) as listener:
            sent_as_it_is(listener.port, path, monkeypatch, syntaxes=[IMPLICIT, "1.2.840.10008.1.2.5", EXPLICIT])
        assert hospital.received[0]["transfer_syntax_uid"] == IMPLICIT

    def test_with_a_syntax_nobody_can_keep_is_refused_by_context(self) -> None:
        """JPIP points to pixels at the sender: the context is refused for its syntax (PS3.8 table 9-18, 4)."""
        with listening(Hospital()) as listener, connected(listener.port) as sock:
            sock.sendall(associate_request(sop_class=CT, syntax="1.2.840.10008.1.2.4.94"))
            kind, body = next_pdu(sock)
        assert kind == 2
        assert struct.pack(">BxHBxBx", 0x21, struct.unpack_from(">H", body, body.index(b"\x21\0") + 2)[0], 1, 4) in body

    def test_in_odd_fragments_is_put_together(self) -> None:
        """PS3.8 Annex E lets a PDU hold several PDVs, and a command come in pieces: both are put together."""
        hospital, whole = Hospital(), command(0x0001)
        with listening(hospital) as listener, connected(listener.port, CT_REQUEST) as sock:
            sock.sendall(p_data(pdv(1, whole[:20])) + p_data(pdv(3, whole[20:]), pdv(0, b"ab"), pdv(0, b"")))
            sock.sendall(p_data(pdv(0, b"cd"), pdv(2, b"ef")))
            assert status(sock) == 0
        assert hospital.received[0]["dataset"] == b"abcdef"


class TestAnAnswer:
    def test_with_a_refusal_reaches_the_peer_with_its_comment(self) -> None:
        """"A refusal without a reason is never forgiven": status and comment travel, and the UIDs with them."""
        hospital = Hospital()
        hospital.answers = [StoreAnswer(0xA900, "StudyInstanceUID is missing"), StoreAnswer(0xB000), StoreAnswer(0)]
        with listening(hospital) as listener, connected(listener.port, CT_REQUEST) as sock:
            sock.sendall(store_pdus(b"x" * 100, uid="1.2.77"))
            said = response(sock)
            assert said[0x0900] == b"\x00\xa9"
            assert said[0x0902].strip() == b"StudyInstanceUID is missing"
            assert (said[0x0120], said[0x1000].strip(b"\0")) == (b"\x09\0", b"1.2.77")
            assert said[0x0002].strip(b"\0") == CT.encode()
            for expected in (0xB000, 0):
                sock.sendall(store_pdus(b"x"))
                assert status(sock) == expected
            sock.sendall(RELEASE)
            assert next_pdu(sock)[0] == 6
        assert eventually(lambda: hospital.outcomes == [("released", 2)])

    def test_to_an_exception_of_ours_holds_no_patient_and_keeps_the_association(
        self, caplog: pytest.LogCaptureFixture,
    ) -> None:
        """"Unexpected exception -> 0x0110 with a comment without PHI, logged, association kept"."""
        hospital = Hospital()
        hospital.answers = [ValueError("Mustermann^Erika 1962-02-03 is not a name")]
        with listening(hospital) as listener, connected(listener.port, CT_REQUEST) as sock:
            sock.sendall(store_pdus(b"x"))
            said = response(sock)
            assert said[0x0900] == b"\x10\x01"
            assert b"Mustermann" not in b"".join(said.values())
            assert "Mustermann" not in caplog.text
            assert "ValueError" in caplog.text
            assert b"trace-1" in said[0x0902]
            sock.sendall(store_pdus(b"y"))
            assert status(sock) == 0

    @pytest.mark.parametrize(
        ("request_", "expected"),
        [
            (command(0x0001, uid="1.2/../../etc"), 0x0117),
            (command(0x0001, uid="1." * 40 + "1"), 0x0117),
            (command(0x0001, uid=""), 0x0117),
            (command(0x0001, sop_class="1.2.840.10008.5.1.4.1.1.4"), 0x0122),
        ],
        ids=["path characters", "too long", "missing", "class of another context"],
    )
    def test_to_a_bad_command_comes_without_asking_anybody(self, request_: bytes, expected: int) -> None:
        """"UIDs checked; others refused (0117)"; the data set is drained and the association goes on."""
        hospital = Hospital()
        with listening(hospital) as listener, connected(listener.port, CT_REQUEST) as sock:
            sock.sendall(p_data(pdv(3, request_)) + p_data(pdv(0, b"a" * 1000)) + p_data(pdv(2, b"b")))
            assert status(sock) == expected
            assert hospital.received == []
            sock.sendall(store_pdus(b"fine"))
            assert status(sock) == 0

    def test_to_an_object_beyond_the_limit_is_out_of_resources(self) -> None:
        """"Size limit -> A700, partial file removed": the rest is drained, the next object is taken."""
        hospital = Hospital()
        with (
            listening(hospital, limits=AssociationLimits(object_bytes=100_000)) as listener,
            connected(listener.port, CT_REQUEST) as sock,
        ):
            sock.sendall(store_pdus(bytes(200_000)))
            assert status(sock) == 0xA700
            sock.sendall(store_pdus(b"small"))
            assert status(sock) == 0
        assert [len(got["dataset"]) for got in hospital.received] == [5]

    def test_fits_the_smallest_pdu_a_peer_may_ask_for(self) -> None:
        """The peer's maximum length binds us too (PS3.8 D.1): responses are cut when it is tiny."""
        with listening(Hospital()) as listener, connected(listener.port) as sock:
            sock.sendall(associate_request(sop_class=CT, syntax=EXPLICIT, max_length=32))
            assert next_pdu(sock)[0] == 2
            sock.sendall(store_pdus(b"x"))
            sizes, is_last = [], False
            while not is_last:
                _, body = next_pdu(sock)
                sizes.append(len(body))
                is_last = bool(body[5] & 2)
        assert max(sizes) <= 32
        assert len(sizes) > 2

    def test_to_150_small_files_of_a_stock_client_needs_no_second(self, tmp_path: Path) -> None:
        """"Stock storescu without TCP_NODELAY: 150 tiny files in < 1.5 s" (6.7 s with delayed ACKs)."""
        ds = Dataset()
        ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPClassUID = "P", "1.2.8", "1.2.8.1", CT
        for number in range(150):
            ds.SOPInstanceUID = f"1.2.8.1.{number + 1}"
            meta = file_meta_bytes(sop_class_uid=CT, sop_instance_uid=ds.SOPInstanceUID, transfer_syntax_uid=EXPLICIT)
            with open(tmp_path / f"{number}.dcm", "w+b") as file:
                file.write(meta)
                ds.save_as(file, implicit_vr=False, little_endian=True)
                file.seek(0)
        hospital = Hospital()
        with listening(hospital) as listener:
            before = time.monotonic()
            said = peer("storescu", listener.port, "+sd", files=[tmp_path])
            took = time.monotonic() - before
        assert "exit 0" in said, said[-500:]
        assert len(hospital.received) == 150
        assert took < 1.5

    def test_to_another_service_is_pynetdicoms_with_stores_and_echoes_beside_it(self) -> None:
        """"The first command that is neither C-STORE nor C-ECHO hands the same association to pynetdicom": store, action, store,
        action, echo, store and release on one association.
        """
        hospital, actions = Hospital(), []

        def act(event: evt.Event) -> tuple[int, None]:
            actions.append(event.action_information.TransactionUID)
            return 0, None

        services = {"others": frozenset({COMMITMENT}), "handlers": lambda _: [(evt.EVT_N_ACTION, act)]}
        entity = AE(ae_title="CT01")
        entity.add_requested_context(COMMITMENT)
        entity.add_requested_context(CT)
        entity.add_requested_context("1.2.840.10008.1.1")
        asked, image = Dataset(), dcmread(real_file("real/lung-ct-lctsc.dcm"))
        asked.TransactionUID = "1.2.3.4"
        with listening(hospital, **services) as listener:
            association = entity.associate("127.0.0.1", listener.port, ae_title="MERCY")
            assert association.is_established
            for _ in range(2):
                assert association.send_c_store(image).Status == 0
                assert association.send_n_action(asked, 1, COMMITMENT, "1.2.840.10008.1.20.1.1")[0].Status == 0
            assert association.send_c_echo().Status == 0
            assert association.send_c_store(image).Status == 0
            association.release()
            assert eventually(lambda: hospital.outcomes == [("released", 3)])
        assert actions == ["1.2.3.4"] * 2

    def test_to_a_cancel_of_nothing_is_none(self) -> None:
        """A C-CANCEL that comes too late means nothing (PS3.7 9.3.2.3); what comes behind it is served."""
        hospital = Hospital()
        cancel = command(0x0FFF, has_data=False, extra=struct.pack("<HHIH", 0, 0x0120, 2, 1))
        with listening(hospital) as listener, connected(listener.port, CT_REQUEST) as sock:
            sock.sendall(p_data(pdv(3, cancel)) + store_pdus(b"beside it") + ECHO)
            assert [status(sock), status(sock)] == [0, 0]
            sock.sendall(RELEASE)
            assert next_pdu(sock)[0] == 6
        assert eventually(lambda: hospital.outcomes == [("released", 1)])

    def test_to_a_query_is_a_refused_context(self) -> None:
        """Query/Retrieve is not offered yet: the peer hears so in the negotiation instead of an abort later."""
        with listening(Hospital()) as listener:
            said = peer("findscu", listener.port, "-S", "-k", "0008,0052=STUDY")
        assert "No Acceptable Presentation Contexts" in said
