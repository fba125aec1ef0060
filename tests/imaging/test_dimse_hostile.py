"""How associations end, and what a hostile peer gets."""

import os
import socket
import struct
import time

import pytest

from imaging.dimse.contract import AssociationLimits
from tests.imaging.test_dimse_peers import (
    CT_REQUEST,
    ECHO,
    RELEASE,
    Hospital,
    command,
    connected,
    eventually,
    is_closed,
    listening,
    next_pdu,
    open_sockets,
    p_data,
    pdv,
    peer,
    real_file,
    status,
    store_pdus,
)


class TestAnEnd:
    def test_by_abort_is_told_as_aborted_with_what_was_stored(self) -> None:
        """"Association aborted (storescu --abort)": the outcome says so, and what was acknowledged stays."""
        path, hospital = real_file("real/mr-brain-lgg.dcm"), Hospital()
        with listening(hospital) as listener:
            peer("storescu", listener.port, "--abort", files=[path])
            assert eventually(lambda: hospital.outcomes)
        assert hospital.outcomes == [("aborted", 1)]

    def test_half_way_through_an_object_stores_nothing_of_it(self) -> None:
        """Half an object is no object: the connection breaks inside a data set and receive is never called."""
        hospital = Hospital()
        with listening(hospital) as listener:
            with connected(listener.port, CT_REQUEST) as sock:
                sock.sendall(store_pdus(b"first"))
                assert status(sock) == 0
                sock.sendall(store_pdus(bytes(50_000))[:-20_000])
            assert eventually(lambda: hospital.outcomes)
        assert hospital.outcomes == [("lost", 1)]
        assert [got["dataset"] for got in hospital.received] == [b"first"]

    def test_is_told_even_when_the_fault_is_ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A defect in our own code aborts that association and ends it in the books; no thread waits for ever."""
        monkeypatch.setattr("imaging.dimse.lane.MessageLane.fragment", lambda *_: 1 // 0)
        hospital = Hospital()
        with listening(hospital) as listener, connected(listener.port, CT_REQUEST) as sock:
            sock.sendall(ECHO)
            assert next_pdu(sock)[0] == 7
            assert eventually(lambda: hospital.outcomes == [("aborted", 0)])

    def test_leaves_no_thread_without_its_last_call(self) -> None:
        """The thread of an association calls `thread_end`, where a database connection is closed."""
        hospital = Hospital()
        with listening(hospital) as listener:
            assert "exit 0" in peer("echoscu", listener.port)
            assert eventually(lambda: len(hospital.ended_threads) == 1)

    def test_is_graceful_for_the_object_that_is_arriving(self) -> None:
        """"Graceful stop: stop accepting, give open associations time": an object under way is still answered."""
        hospital = Hospital()
        hospital.receive_seconds = 0.5
        with listening(hospital) as listener, connected(listener.port, CT_REQUEST) as sock:
            sock.sendall(store_pdus(b"under way") + RELEASE)
            assert eventually(lambda: len(hospital.outcomes) + len(hospital.asked) == 1)
            listener.stop(5)
            assert status(sock) == 0
            assert next_pdu(sock)[0] == 6
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", listener.port), timeout=1)
        assert hospital.outcomes == [("released", 1)]

    def test_comes_by_abort_when_the_peer_does_not_leave(self) -> None:
        """"... `timeout` seconds, then abort": a PACS that keeps its association open for days cannot keep us up."""
        hospital = Hospital()
        with listening(hospital) as listener, connected(listener.port, CT_REQUEST) as sock:
            before = time.monotonic()
            listener.stop(0.3)
            assert 0.3 <= time.monotonic() - before < 1.5
            assert next_pdu(sock)[0] == 7
        assert hospital.outcomes == [("aborted", 0)]

    def test_is_not_told_while_leases_are_renewed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """"`alive(admissions=[...])` is called with the open ones (lease heartbeat)"."""
        monkeypatch.setattr("imaging.dimse.receiver.ALIVE_SECONDS", 0.1)
        hospital = Hospital()
        request = CT_REQUEST
        with listening(hospital) as listener, connected(listener.port, request), connected(listener.port, request):
            assert eventually(lambda: [1, 2] in hospital.renewed)
            assert hospital.outcomes == []


class TestAHostilePeer:
    @pytest.mark.parametrize(
        "attack",
        [
            b"\x04\x00\x80\x00\x00\x00",
            b"\x05\x00\x40\x00\x00\x00",
            b"\x0b\x00\x00\x00\x00\x04abcd",
            p_data(struct.pack(">IBB", 5000, 1, 2)),
            p_data(struct.pack(">IBB", 0, 1, 2)),
            p_data(pdv(3, command(0x0001), context_id=9)),
            p_data(pdv(2, b"data without a command")),
            p_data(pdv(3, b"\x08\0\0\0\xff\xff\xff\x7f")),
            b"".join(p_data(pdv(1, bytes(16000))) for _ in range(5)),
        ],
        ids=[
            "2 GiB of data", "1 GiB of release", "unknown PDU", "PDV beyond its PDU", "empty PDV", "foreign context",
            "data first", "command with a lie", "command without end",
        ],
    )
    def test_is_cut_at_once_while_others_go_on(self, attack: bytes) -> None:
        """"Everything from outside is hostile: PDU lengths ...": cut by A-ABORT before anything is allocated."""
        hospital = Hospital()
        with (
            listening(hospital) as listener,
            connected(listener.port, CT_REQUEST) as honest,
            connected(listener.port, CT_REQUEST) as sock,
        ):
            sock.sendall(attack)
            assert is_closed(sock, 1.5)
            honest.sendall(store_pdus(b"mine"))
            assert status(honest) == 0
            assert eventually(lambda: ("aborted", 0) in hospital.outcomes)

    def test_that_claims_two_gigabytes_gets_no_memory(self) -> None:
        """"A header claiming 2 GiB is believed" (stock pynetdicom grew by 300 MiB): here nothing of it is kept."""
        with listening(Hospital()) as listener, connected(listener.port, CT_REQUEST) as sock:
            before = _resident_bytes()
            sock.settimeout(2)
            with pytest.raises(OSError, match=r"reset|Broken pipe|abort"):
                sock.sendall(b"\x04\x00\x80\x00\x00\x00" + bytes(300 << 20))
            assert _resident_bytes() - before < 30 << 20

    @pytest.mark.parametrize("first", [b"", b"\x04\x00\x00", b"\x04\x00\x00\x00\x40\x00"], ids=["idle", "head", "body"])
    def test_that_falls_silent_is_cut(self, first: bytes) -> None:
        """"The stock AssociationSocket waits for ever": silence between and inside PDUs ends at the idle limit."""
        limits, hospital = AssociationLimits(idle_seconds=0.5, pdu_seconds=0.7), Hospital()
        with listening(hospital, limits=limits) as listener, connected(listener.port, CT_REQUEST) as sock:
            sock.sendall(first)
            assert not is_closed(sock, 0.3)
            assert is_closed(sock, 1.5)
            assert eventually(lambda: hospital.outcomes == [("aborted", 0)])

    def test_that_drips_is_cut_too(self) -> None:
        """"An absolute limit per PDU, counted from the first byte of its header": bytes do not buy more time."""
        limits = AssociationLimits(idle_seconds=5, pdu_seconds=0.6)
        pdu = p_data(pdv(2, bytes(100)))
        with listening(Hospital(), limits=limits) as listener, connected(listener.port, CT_REQUEST) as sock:
            before = time.monotonic()
            for at in range(len(pdu)):
                try:
                    sock.sendall(pdu[at : at + 1])
                except OSError:
                    break
                time.sleep(0.05)
            assert 0.5 < time.monotonic() - before < 1.5

    def test_slow_in_receive_is_not_taken_for_silent(self) -> None:
        """Our own slowness is no silence of the peer: an object that takes longer than the idle limit is answered."""
        limits, hospital = AssociationLimits(idle_seconds=0.4), Hospital()
        hospital.receive_seconds = 0.8
        with listening(hospital, limits=limits) as listener, connected(listener.port, CT_REQUEST) as sock:
            sock.sendall(store_pdus(b"x"))
            assert status(sock) == 0
            sock.sendall(ECHO)
            assert status(sock) == 0

    def test_keeps_nothing_open_through_a_forked_child(self) -> None:
        """A prefork pool forks the listener's process: a child must not keep hospitals connected, nor the port."""
        before = open_sockets()
        with listening(Hospital()) as listener, connected(listener.port, CT_REQUEST) as sock:
            ours = os.readlink(f"/proc/self/fd/{sock.fileno()}")
            assert len(open_sockets() - before - {ours}) >= 2
            child = os.fork()
            if not child:
                os._exit(len(open_sockets() - before - {ours}))
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            sock.sendall(store_pdus(b"still here"))
            assert status(sock) == 0


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
