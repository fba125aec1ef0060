"""The open port against strangers, hostile bytes and slow databases."""

import re
import socket
import time
from contextlib import ExitStack
from functools import partial

import pytest

from imaging.dimse.contract import DoorLimits
from imaging.dimse.door import PortTakenError
from imaging.dimse.listener import Listener
from tests.imaging.test_dimse_peers import (
    ECHO,
    FAST_DOOR,
    Hospital,
    associate_request,
    connected,
    eventually,
    is_closed,
    listening,
    next_pdu,
    peer,
    status,
)


def test_an_unknown_called_ae_is_rejected_with_the_reason() -> None:
    """"A refusal without a reason is never forgiven": the peer reads that the called AE title is not recognised."""
    hospital = Hospital()
    with listening(hospital) as listener:
        said = peer("echoscu", listener.port, called="NOBODY")
    assert "Called AE Title Not Recognized" in said
    assert hospital.outcomes == []


def test_an_unknown_calling_ae_is_rejected_with_the_reason() -> None:
    """"Unknown calling AE": another diagnostic than the unknown called AE, so that the right side is corrected."""
    with listening(Hospital()) as listener:
        said = peer("echoscu", listener.port, calling="STRANGER")
    assert "Calling AE Title Not Recognized" in said


def test_a_rejection_is_followed_by_a_clean_end() -> None:
    """A socket closed with unread bytes resets the connection, and some peers then never see the A-ASSOCIATE-RJ."""
    with listening(Hospital()) as listener, connected(listener.port) as sock:
        sock.sendall(associate_request(called="NOBODY"))
        time.sleep(0.2)
        assert next_pdu(sock) == (3, b"\0\x01\x01\x07")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert sock.recv(10) == b""


def test_admission_is_asked_once_with_both_titles_and_the_address() -> None:
    """"Called AE -> tenant at the door": titles arrive without their padding, with the address they came from."""
    hospital = Hospital()
    with listening(hospital) as listener:
        assert "exit 0" in peer("echoscu", listener.port, calling="CT 01")
    assert hospital.asked == [("MERCY", "CT 01", "127.0.0.1")]


def test_a_failing_admission_is_a_transient_rejection() -> None:
    """A database that is down must not look like a wrong AE title: temporary congestion (PS3.8 table 9-21)."""
    with listening(Hospital()) as listener, connected(listener.port) as sock:
        sock.sendall(associate_request(calling="DATABASE"))
        assert next_pdu(sock) == (3, b"\0\x02\x03\x01")


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x04\x00\x00\x00\x00\x10" + bytes(16),
        b"\x01\x00\x80\x00\x00\x00",
        b"\x01\x00\x00\x00\x00\x10",
    ],
    ids=["http", "tls", "data before association", "claims 2 GiB", "shorter than any request"],
)
def test_bytes_that_are_no_association_request_are_closed_at_once(noise: bytes) -> None:
    """"Not-DICOM bytes are closed at once", and nobody is asked about them."""
    hospital = Hospital()
    with listening(hospital) as listener, connected(listener.port) as sock:
        sock.sendall(noise)
        assert is_closed(sock, 1.0)
    assert hospital.asked == []


def test_silent_and_dripping_sockets_hold_up_nobody_and_are_cut() -> None:
    """"20 silent + 20 dripping sockets while an honest C-ECHO takes < 1 s"; all of them are cut at the deadline."""
    hospital, request = Hospital(), associate_request()
    with listening(hospital, door_limits=FAST_DOOR) as listener, ExitStack() as stack:
        sockets = [stack.enter_context(connected(listener.port)) for _ in range(40)]
        for index, sock in enumerate(sockets[:20]):
            sock.sendall(request[: index % 2 * 3])
        started = time.monotonic()
        for round_ in range(3):
            for sock in sockets[20:]:
                sock.sendall(request[round_ : round_ + 1])
            before = time.monotonic()
            assert "exit 0" in peer("echoscu", listener.port)
            assert time.monotonic() - before < 1.0
        assert all(is_closed(sock, 2.0) for sock in sockets)
        assert time.monotonic() - started < 2.5
    assert len(hospital.asked) == 3


def test_a_request_in_small_pieces_is_served_when_it_is_complete_in_time() -> None:
    """"It never consumes a byte": a request that comes in pieces reaches pynetdicom whole."""
    request = associate_request()
    with listening(Hospital()) as listener, connected(listener.port) as sock:
        for at in range(0, len(request), 50):
            sock.sendall(request[at : at + 50])
            time.sleep(0.02)
        assert next_pdu(sock)[0] == 2
        sock.sendall(ECHO)
        assert status(sock) == 0


def test_a_slow_admission_holds_up_nobody_else() -> None:
    """"One slow call doesn't hold others": an echo passes while another association waits for the database."""
    hospital = Hospital()
    hospital.admission_seconds["SLOW"] = 1.5
    with listening(hospital) as listener, connected(listener.port) as sock:
        sock.sendall(associate_request(calling="SLOW"))
        assert eventually(lambda: len(hospital.asked) == 1)
        before = time.monotonic()
        assert "exit 0" in peer("echoscu", listener.port)
        assert time.monotonic() - before < 1.0
        assert next_pdu(sock)[0] == 2


def test_the_longest_waiting_gives_way_to_a_newcomer() -> None:
    """"A cap on connections waiting per address": a flood of silent sockets cannot keep an honest peer out."""
    limits = DoorLimits(request_seconds=30, waiting_per_address=5)
    with listening(Hospital(), door_limits=limits) as listener, ExitStack() as stack:
        sockets = [stack.enter_context(connected(listener.port)) for _ in range(8)]
        assert "exit 0" in peer("echoscu", listener.port)
        assert is_closed(sockets[0], 1.0)
        assert not is_closed(sockets[-1], 0.1)


def test_one_association_too_many_is_a_transient_rejection() -> None:
    """"max_associations": the peer hears "local limit exceeded" and may come again, and admission is not asked."""
    hospital = Hospital()
    with listening(hospital, max_associations=1) as listener:
        with connected(listener.port, associate_request()) as first:
            with connected(listener.port) as second:
                second.sendall(associate_request())
                assert next_pdu(second) == (3, b"\0\x02\x03\x02")
            first.sendall(ECHO)
            assert status(first) == 0
        assert eventually(lambda: hospital.outcomes == [("lost", 0)])
        assert "exit 0" in peer("echoscu", listener.port)
    assert len(hospital.asked) == 2


def test_one_hospital_and_one_address_have_their_share_of_associations() -> None:
    """"Caps per address and per tenant": one too many is rejected, its row closed, and the next one taken when one has ended."""
    for limits, asked in ((DoorLimits(open_per_address=2), 2), (DoorLimits(open_per_tenant=2), 3)):
        hospital = Hospital()
        with listening(hospital, door_limits=limits) as listener:
            with connected(listener.port, associate_request()), connected(listener.port, associate_request()) as second:
                with connected(listener.port) as third:
                    third.sendall(associate_request())
                    assert next_pdu(third) == (3, b"\0\x02\x03\x02")
                assert len(hospital.asked) == asked
                second.sendall(ECHO)
                assert status(second) == 0
            ended = sorted([("lost", 0)] * 2 + [("refused", 0)] * (asked - 2))
            assert eventually(partial(lambda expected, seen: sorted(seen) == expected, ended, hospital.outcomes))
            assert "exit 0" in peer("echoscu", listener.port)


def test_a_taken_port_is_named_with_its_variable() -> None:
    """"Port taken -> an error naming port and the variable MEDHUB_DIMSE_PORT"."""
    hospital = Hospital()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listener = Listener("127.0.0.1", port, services=hospital.services())
        with pytest.raises(PortTakenError, match=re.escape(f":{port}") + ".*MEDHUB_DIMSE_PORT"):
            listener.start()
