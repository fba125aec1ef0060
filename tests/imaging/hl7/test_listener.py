"""The door: framing, acknowledgements, repetition, who is it, strangers and nonsense."""

import socket
import ssl
from contextlib import suppress
from time import monotonic
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.certificates.services import certificate_revoke
from imaging.hl7.acks import Outcome, acks_make
from imaging.hl7.errors import MessageRefused
from imaging.hl7.frames import Frames, FramingError, frame
from imaging.hl7.messages import LEFT_AFTER, message_again, message_take, message_waits
from imaging.hl7.reading import Told, patient_facts
from imaging.hl7.sources import SourceError, source_add, source_remove
from imaging.models import Hl7Message, Order, Patient
from journal.models import AuditEvent
from tenants.models import Hl7Source
from tests.conftest import Hospital
from tests.imaging.hl7.conftest import ACTOR, System, code
from tests.imaging.hl7.test_orders import PID, orders, orm
from tests.imaging.tls_peers import Device, device
from tests.killing import KILLED, killed_or_done

pytestmark = pytest.mark.database


def messages(mercy: Hospital) -> list[Hl7Message]:
    with mercy.scope():
        return list(Hl7Message.objects.order_by("id"))


def test_kept_handled_once_and_audited(mercy: Hospital, ris: System) -> None:
    """The received bytes are kept; the same message again is answered alike and handled once."""
    for _ in range(3):
        answer = ris.send(*orm(), control_id="X1")
        assert (code(answer), str(answer.segment("MSA")[2])) == ("AA", "X1")
    (row,) = messages(mercy)
    assert bytes(row.body).startswith(b"MSH|^~\\&|RIS-")
    assert (row.state, row.kind, row.attempts) == ("done", "ORM^O01", 1)
    with mercy.scope():
        assert AuditEvent.objects.filter(action="hl7.message").count() == 1
    assert code(ris.send(*orm(accession="A2"), control_id="X1")) == "AA"  # other bytes under the same MSH-10 are another message
    assert [order.accession_number for order in orders(mercy)] == ["A1", "A2"]


@pytest.mark.parametrize("ends", ["\r", "\n", "\r\n"])
def test_ends_of_segments(mercy: Hospital, ris: System, ends: str) -> None:
    assert code(ris.send(*orm(), ends=ends)) == "AA"
    assert len(orders(mercy)) == 1


@pytest.mark.parametrize(
    ("named", "encoding"), [("", "utf-8"), ("", "latin-1"), ("UNICODE UTF-8", "utf-8"), ("8859/1", "latin-1"), ("8859/2", "iso8859-2")]
)
def test_character_sets(mercy: Hospital, ris: System, named: str, encoding: str) -> None:
    """MSH-18; without it UTF-8 where the bytes are that, else Latin-1."""
    text = "\r".join((f"MSH|^~\\&|{ris.name}|||||| ORM^O01|C1|P|2.5.1||||||{named}".replace("| ORM", "|ORM"), *orm()))
    assert code(ris.raw(text.replace("DOE^JANE", "MÜLLER^JÖRG").encode(encoding))) == "AA"
    assert orders(mercy)[0].patient.name.startswith("MÜLLER^JÖRG")


@pytest.mark.parametrize(
    ("asked", "is_good", "codes"),
    [("|||", True, ["AA"]), ("|||AL|NE", True, ["CA"]), ("|||AL|AL", True, ["CA", "AA"]), ("|||NE|AL", False, ["AE"]),
     ("|||ER|SU", False, ["CE"]), ("|||SU|ER", False, ["AE"]), ("|||NE|NE", True, [])],
)  # fmt: skip
def test_modes_of_acknowledgement(asked: str, is_good: bool, codes: list[str]) -> None:
    """MSH-15 and MSH-16 ask for the enhanced mode."""
    told = Told(f"MSH|^~\\&|A|B|C|D|20260705||ORM^O01|1|P|2.5.1{asked}\rPID|1".encode())
    sent = acks_make(told, Outcome() if is_good else Outcome(code="AE", where="PID-3", words="names no patient number"))
    found = [Told(body) for body in Frames().feed(sent)]
    assert [one.value("MSA", 1) for one in found] == codes
    assert all(one.value("MSA", 2) == "1" and one.value("MSH", 3) == "C" and one.value("MSH", 5) == "A" for one in found)


def test_what_is_not_taken(mercy: Hospital, ris: System, connect: Any) -> None:
    """AR for a type that nobody takes, for a stranger and for what is no HL7: nothing of a stranger's is kept."""
    assert code(ris.send(PID, kind="SIU^S12")) == "AR"
    stranger = connect("STRANGER")
    answer = stranger.send(*orm())
    assert code(answer) == "AR"
    assert mercy.slug not in str(answer)
    assert code(stranger.raw(b"hello")) == "AR"
    assert orders(mercy) == []
    assert [row.code for row in messages(mercy)] == ["AR"]  # the known sender's


def test_a_sender_writes_only_into_its_own_hospital(mercy: Hospital, olaf: Hospital, ris: System, connect: Any) -> None:
    """ "Tenant crossing on ... MLLP sender: refused": whatever MSH names, Mercy's system writes at Mercy, and nobody can claim it."""
    with olaf.scope():
        theirs = source_add(actor=ACTOR, name="RIS", addresses=["127.0.0.1"], sending_application="RIS-OLAF", receiving_facility=olaf.slug)
    text = "\r".join((f"MSH|^~\\&|{ris.name}|HOSP|MEDHUB|{olaf.slug}|20260705||ORM^O01|C1|P|2.5.1", *orm()))
    assert code(ris.raw(text.encode())) == "AA"
    with olaf.scope():
        assert Order.objects.count() == Hl7Message.objects.count() == Patient.objects.count() == 0
        with pytest.raises(SourceError, match="registered already"):
            source_add(actor=ACTOR, name="x", addresses=["127.0.0.0/16"], sending_application=ris.name)
    assert len(orders(mercy)) == 1
    assert code(connect("RIS-OLAF").send(*orm())) == "AR"  # its own names, but not the facility that it is registered with
    with olaf.scope():
        source_remove(actor=ACTOR, row=theirs)


@pytest.mark.parametrize(
    "claimed", [{"sending_facility": "HOSP"}, {"sending_application": "RIS", "receiving_facility": "HUB"}, {"sending_application": ""}]
)
def test_nobody_gets_between_a_hospital_and_its_sender(mercy: Hospital, olaf: Hospital, claimed: dict[str, str]) -> None:
    """ "Tenant crossing on ... MLLP sender: refused": naming more of MSH than Mercy did takes none of Mercy's messages."""
    address = f"10.{mercy.tenant.id % 250}.{mercy.tenant.id // 250 % 250}.7"
    with mercy.scope():
        source_add(actor=ACTOR, name="RIS", addresses=[address], sending_application="RIS")
    with olaf.scope():
        with pytest.raises(SourceError, match="registered already"):
            source_add(actor=ACTOR, name="x", addresses=[address], **claimed)
        # two who passed each other's check at the same moment: the message is nobody's
        row = Hl7Source.objects.create(tenant=olaf.tenant, name="x", addresses=[address], **claimed)
    text = "\r".join(("MSH|^~\\&|RIS|HOSP|MEDHUB|HUB|20260705||ORM^O01|C1|P|2.5.1", *orm()))
    assert message_take(body=text.encode(), address=address)[1].code == "AR"
    row.delete()
    assert message_take(body=text.encode(), address=address)[1].code == "AA"
    with olaf.scope():
        assert Order.objects.count() == Hl7Message.objects.count() == 0
        source_add(actor=ACTOR, name="x", addresses=[address], sending_application="OTHER")  # one engine for both: told apart


def test_a_source_needs_an_address_or_tls(mercy: Hospital) -> None:
    with mercy.scope():
        for addresses in ([], ["nonsense"], ["0.0.0.0/0"], ["::/0"]):
            with pytest.raises(SourceError):
                source_add(actor=ACTOR, name="x", addresses=addresses)
        with pytest.raises(SourceError):
            source_add(actor=ACTOR, name=" ", needs_tls=True)


def test_failed_ones_are_handled_again(mercy: Hospital, ris: System) -> None:
    """What could not be taken lies there, and is taken once what was missing is right; then it is not taken again."""
    ris.send(*orm(control="ZZ"))
    (row,) = messages(mercy)
    assert message_again(tenant_id=mercy.tenant.id, message_id=row.id).code == "AE"
    with mercy.scope():
        Hl7Message.objects.filter(id=row.id).update(body=bytes(row.body).replace(b"ORC|ZZ", b"ORC|NW"))
    assert message_again(tenant_id=mercy.tenant.id, message_id=row.id).code == "AA"
    assert message_again(tenant_id=mercy.tenant.id, message_id=row.id) is None
    assert len(orders(mercy)) == 1


def test_what_was_left_is_handled_again(mercy: Hospital, ris: System) -> None:
    """Kept by a process that is gone, and never sent again: after a minute a person can go on with it."""
    ris.send(*orm(control="ZZ"))
    (row,) = messages(mercy)
    with mercy.scope():
        rows = Hl7Message.objects.filter(id=row.id)
        rows.update(state="received", body=bytes(row.body).replace(b"ORC|ZZ", b"ORC|NW"), received_at=timezone.now())
        assert not message_waits(row=rows.get())
        rows.update(received_at=timezone.now() - LEFT_AFTER * 2)
        assert message_waits(row=rows.get())
    assert message_again(tenant_id=mercy.tenant.id, message_id=row.id).code == "AA"
    assert len(orders(mercy)) == 1


def test_no_message_is_without_an_answer_for_ever(mercy: Hospital, ris: System) -> None:
    """What the database cannot hold is read without it or answered with AE: a sender that hears nothing sends it again and again."""
    lines = [line.replace("cough for weeks", "cough\0").replace("PL1", "P\0L1") for line in orm()]
    assert code(ris.send(*lines, control_id="X\0Y")) == "AA"
    for field in ("DOE^JANE^Q", "HOSP^MR", "19600102", "CT of the chest", "ORC|NW", "RP1", "SPS1", "|CT|", "1.2.840.99.1", "1234^ADAMS"):
        for filler in ("\0", "x" * 5_000, "\U0001f600" * 70, "\\X00\\"):
            found = [line.replace(field, f"|{filler}|" if field == "|CT|" else filler) for line in orm(accession="A2")]
            assert code(ris.send(*found)) in {"AA", "AE"}, (field, filler[:5])
    assert {row.state for row in messages(mercy)} <= {"done", "failed"}


def test_what_cannot_be_read_is_kept_too(mercy: Hospital, ris: System) -> None:
    """The bytes of a known sender are kept before they are read: a person sees what failed."""
    text = f"MSH|^~\\&|{ris.name}||||20260705||ORM^O01|C1|P|2.5.1||||||UNICODE UTF-8\rPID|1||P1||".encode()
    assert code(ris.raw(text + b"M\xfcller")) == "AE"
    (row,) = messages(mercy)
    assert (row.state, row.place) == ("failed", "MSH-18")


@pytest.mark.parametrize("char", ["|", "~", "^", "&", "\r"])
def test_nothing_but_separators_costs_nothing(mercy: Hospital, ris: System, connect: Any, char: str) -> None:
    """A message of 1 MiB that is nothing but parts is refused unread; of a stranger's, MSH alone is read."""
    began = monotonic()
    assert code(ris.send("PID|" + char * (1 << 20) + "|x")) in {"AE", "AR"}
    assert code(connect("STRANGER").send("PID|" + char * (1 << 20))) == "AR"
    assert monotonic() - began < 2


@pytest.mark.parametrize("point", ["hl7.after_keep", "hl7.before_commit"])
def test_killed_without_an_answer_it_comes_again_and_is_one_order(mercy: Hospital, ris: System, tmp_path: Any, point: str) -> None:
    """Kept before it is handled, and answered after: whoever was not answered sends again, and nothing is there twice."""
    (tmp_path / point).touch()
    (tmp_path / "message").write_bytes("\r".join((f"MSH|^~\\&|{ris.name}||||20260705||ORM^O01|C1|P|2.5.1", *orm())).encode())
    assert killed_or_done("tests.imaging.hl7.alone", "message_alone", faults=tmp_path, tenant_id=mercy.tenant.id) == KILLED
    assert [row.state for row in messages(mercy)] == ["received"]
    assert orders(mercy) == []
    assert code(ris.raw((tmp_path / "message").read_bytes())) == "AA"
    assert [row.state for row in messages(mercy)] == ["done"]
    assert len(orders(mercy)) == 1


def test_several_messages_in_one_packet_are_answered_in_order(mercy: Hospital, ris: System) -> None:
    texts = ["\r".join((f"MSH|^~\\&|{ris.name}||||20260705||ORM^O01|C{n}|P|2.5.1", *orm(accession=f"A{n}"))) for n in range(3)]
    ris.sock.sendall(b"".join(frame(text.encode()) for text in texts))
    found = []
    while len(found) < 3:
        found += ris.frames.feed(ris.sock.recv(65536))
    assert [Told(body).value("MSA", 2) for body in found] == ["C0", "C1", "C2"]


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x0bMSH|^~\\&|half a fra", b"\xff" * 100])
def test_nonsense_and_half_a_frame_cost_a_moment(connect: Any, data: bytes) -> None:
    """Hung up on within the time of a message; the door stays open for others."""
    system, began = connect(), monotonic()
    system.sock.sendall(data)
    assert system.sock.recv(10) == b""
    assert monotonic() - began < 2
    assert code(connect().send(PID)) == "AR"


def test_over_tls_a_certificate_is_wanted(listener: Any) -> None:
    """Without a client certificate of a hospital's authority there is no conversation."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sock = socket.create_connection(("127.0.0.1", listener.tls_port), timeout=5)
    with sock, suppress(ssl.SSLError, ConnectionError), context.wrap_socket(sock) as secured:
        secured.sendall(frame(b"MSH|^~\\&|A"))  # TLS 1.3: the refusal comes after the client's part
        assert secured.recv(100) == b""


def test_over_tls_the_certificate_says_whose_it_is(mercy: Hospital, olaf: Hospital, listener: Any, tmp_path: Any) -> None:
    """ "by MLLP with TLS": a certificate that Mercy has issued writes at Mercy; another hospital's does not; revoked, neither."""
    own, theirs = device(mercy, tmp_path / "mercy", name="RIS"), device(olaf, tmp_path / "olaf", name="RIS")
    with mercy.scope():
        source_add(actor=ACTOR, name="RIS", needs_tls=True)

    def send(shown: Device, accession: str) -> str:
        context = shown.context(check_hostname=False)
        with socket.create_connection(("127.0.0.1", listener.tls_port), timeout=5) as sock, context.wrap_socket(sock) as secured:
            return code(System(secured, "RIS").send(*orm(accession=accession)))

    assert send(own, "A1") == "AA"
    assert [order.accession_number for order in orders(mercy)] == ["A1"]
    assert send(theirs, "A2") == "AR"  # nobody at St. Olaf was registered
    with mercy.scope():
        certificate_revoke(actor=ACTOR, certificate=own.row, reason="superseded")
    assert send(own, "A3") == "AR"
    assert len(orders(mercy)) == 1


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=20))
@settings(max_examples=150, deadline=None)
def test_frames_in_any_pieces(message: bytes, cuts: list[int]) -> None:
    """A frame is the same message however the network cuts it; nonsense raises and never crashes otherwise."""
    clean = message.replace(b"\x1c", b"")
    data, frames, found = frame(clean) * 2, Frames(), []
    for cut in cuts:
        found += frames.feed(data[:cut])
        data = data[cut:]
    found += frames.feed(data)
    assert found == [clean, clean]
    with suppress(FramingError):
        Frames(limit=100).feed(message)


@given(st.text(max_size=200), st.sampled_from(["PID|", "MSH|", "MSH|^~\\&|", "PID|1||"]))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(text: str, start: str) -> None:
    """Hostile text raises MessageRefused or gives facts, nothing else."""
    try:
        told = Told(b"MSH|^~\\&|A|B|C|D|20260705||ORM^O01|1|P|2.5.1\r" + (start + text).encode("utf-8", "ignore"))
        for segment in told.segments("PID"):
            patient_facts(segment)
    except MessageRefused:
        pass
