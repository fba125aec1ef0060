"""`node_check` tells which hop failed: DNS, TCP, TLS, association with the standard's words, echo."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import evt
from pynetdicom.sop_class import CTImageStorage, Verification

from imaging.models import Node
from imaging.nodes import node_add
from imaging.scu import check
from imaging.scu.association import abort_words, refusal_words
from journal.models import AuditEvent
from tests.imaging.scu_peers import ACTOR, scp
from tests.imaging.test_query_peers import storescp
from tests.orthanc import dcmqrscp_run

pytestmark = [pytest.mark.database, pytest.mark.peers]


def hops(hospital: Any, node: Node) -> list[tuple[str, bool, str]]:
    found = check.node_check(tenant_id=hospital.tenant.id, node_id=node.id, actor=ACTOR)
    assert all(0 <= hop.milliseconds < 20_000 for hop in found)
    return [(hop.hop, hop.is_ok, hop.words) for hop in found]


def test_every_hop_of_a_node_that_answers(mercy, node_at, tmp_path) -> None:
    """"`node_check` tells which hop failed (DNS, TCP, TLS, association ..., echo)": here none, at dcmtk's dcmqrscp."""
    with dcmqrscp_run(tmp_path / "archive") as port:
        node = node_at(mercy, port, "ARCHIVE")
        found = hops(mercy, node)
    assert [(hop, is_ok) for hop, is_ok, _ in found] == [("dns", True), ("tcp", True), ("association", True), ("echo", True)]
    assert mercy.called_ae in found[2][2]
    with mercy.scope():
        kept = Node.objects.get(id=node.id)
        assert [hop["hop"] for hop in kept.last_check] == ["dns", "tcp", "association", "echo"]
        assert kept.checked_at is not None
        assert AuditEvent.objects.filter(action="node.check", object_id=str(node.id)).count() == 1


def test_dns_and_address(mercy, node_at, settings) -> None:
    """DNS: a name that is none. And "deny by default": a private address that EGRESS_ALLOW does not list is not called."""
    with mercy.scope():
        nowhere = node_add(ae_title="NOWHERE", host="no-such-host.invalid", port=104)
        inside = node_add(ae_title="INSIDE", host="127.0.0.1", port=104)
        homeless = node_add(ae_title="HOMELESS")
    assert hops(mercy, nowhere) == [("dns", False, "the host name was not found")]
    assert hops(mercy, inside) == [("address", False, "the address is private or not allowed (EGRESS_ALLOW)")]
    assert hops(mercy, homeless) == [("setup", False, "the node has no host and port")]


def test_tcp(mercy, node_at) -> None:
    """TCP: nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert hops(mercy, node_at(mercy, port, "CLOSED"))[1:] == [("tcp", False, "no connection: connection refused")]


@contextmanager
def saying(answer: bytes) -> Iterator[int]:
    """A server that reads something and says this, on two connections one after the other; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)

        def serve() -> None:
            for _ in range(2):
                try:
                    with server.accept()[0] as sock:
                        sock.settimeout(2)
                        if sock.recv(1000):
                            sock.sendall(answer)
                            sock.recv(1000)
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@contextmanager
def tls_server(folder: Path) -> Iterator[tuple[int, Path]]:
    """A TLS server of this machine; its port and the certificate that it shows, for the name localhost."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("localhost", 0)) as server:
        server.settimeout(5)

        def serve() -> None:
            for _ in range(2):  # the check's own connection, then the association's
                try:
                    with context.wrap_socket(server.accept()[0], server_side=True) as secured:
                        secured.settimeout(2)
                        secured.recv(1000)
                except OSError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], certificate
        server.shutdown(socket.SHUT_RDWR)  # whoever still waits for the second connection
    thread.join(10)


def test_tls(mercy, node_at, tmp_path, monkeypatch) -> None:
    """TLS: a node that speaks none, one whose certificate nobody vouches for, and one that is trusted."""
    with saying(b"\7\0\0\0\0\4\0\0\0\0") as port:
        found = hops(mercy, node_at(mercy, port, "PLAIN", uses_tls=True))
    assert found[2][:2] == ("tls", False)
    assert found[2][2].startswith("no TLS: ")
    with tls_server(tmp_path) as (port, certificate):
        node = node_at(mercy, port, "SECURE", host="localhost", uses_tls=True)
        assert hops(mercy, node)[2] == ("tls", False, "the certificate was not accepted: self-signed certificate")
    with tls_server(tmp_path) as (port, certificate):
        node = node_at(mercy, port, "SECURE", host="localhost", uses_tls=True)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        found = hops(mercy, node)
    assert found[2][:2] == ("tls", True)
    assert "TLSv1.3" in found[2][2]
    assert found[3][:2] == ("association", False)


def test_association_rejected_in_the_words_of_the_standard(mercy, node_at, tmp_path) -> None:
    """"association with the reason text of the standard": dcmqrscp does not know the called AE title."""
    with dcmqrscp_run(tmp_path / "archive") as port:
        found = hops(mercy, node_at(mercy, port, "OTHER"))
    assert found[2] == ("association", False, "association rejected (permanent) by the service user: called AE title not recognized")
    with scp("STRICT", [Verification], [], require_calling_aet=["FRIEND"]) as port:
        found = hops(mercy, node_at(mercy, port, "STRICT"))
    assert found[2] == ("association", False, "association rejected (permanent) by the service user: calling AE title not recognized")


def test_association_aborted_and_echo(mercy, node_at, tmp_path) -> None:
    """The source of an abort is told; a node without Verification; an echo that is answered with a failure."""
    for last, words in (((0, 0), "service user"), ((2, 1), "service provider: unrecognized PDU")):
        with saying(b"\7\0\0\0\0\4\0\0" + bytes(last)) as port:
            found = hops(mercy, node_at(mercy, port, "ABORTS"))
        assert found[2] == ("association", False, f"association aborted by the {words}")
    with scp("NOECHO", [CTImageStorage], []) as port:
        found = hops(mercy, node_at(mercy, port, "NOECHO"))
    assert found[2] == ("association", False, "no presentation context was accepted")
    with scp("ILL", [Verification], [(evt.EVT_C_ECHO, lambda _: 0x0110)]) as port:
        found = hops(mercy, node_at(mercy, port, "ILL"))
    assert found[3] == ("echo", False, "C-ECHO answered with status 0110")
    with storescp(tmp_path / "got") as port:
        assert hops(mercy, node_at(mercy, port, "RECV"))[-1][:2] == ("echo", True)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ((1, 1, 1), "(permanent) by the service user: no reason given"),
        ((1, 1, 2), "(permanent) by the service user: application context name not supported"),
        ((1, 2, 2), "(permanent) by the service provider (ACSE): protocol version not supported"),
        ((2, 3, 1), "(transient) by the service provider (presentation): temporary congestion"),
        ((2, 3, 2), "(transient) by the service provider (presentation): local limit exceeded"),
    ],
)
def test_every_reason_has_its_words(code, words) -> None:
    """PS3.8 table 9-21, and 9-26 for aborts."""
    assert refusal_words(*code) == f"association rejected {words}"
    assert abort_words(2, 2) == "association aborted by the service provider: unexpected PDU"


def test_a_node_of_another_hospital_is_not_there(mercy, olaf, node_at) -> None:
    """Two tenant walls: a check of a foreign node finds nothing."""
    node = node_at(olaf, 11112, "OLAFS")
    with pytest.raises(Node.DoesNotExist):
        check.node_check(tenant_id=mercy.tenant.id, node_id=node.id, actor=ACTOR)
