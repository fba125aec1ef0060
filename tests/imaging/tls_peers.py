"""Peers that speak TLS: a device with its key and certificate in files, dcmtk and pynetdicom with it, a listener with a TLS port."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from imaging import associations
from imaging.certificates import contexts
from imaging.certificates.services import certificate_make
from imaging.dimse.contract import AssociationLimits, Services
from imaging.dimse.listener import Listener
from imaging.ingest import IncomingObject
from imaging.models import Certificate, Node
from imaging.query import doors
from journal.audit import Actor
from tests.imaging.test_dimse_peers import eventually, need, peer
from tests.orthanc import port_free

ACTOR = Actor(name="user:test")


@dataclass
class Device:
    """What an administrator puts into a scanner."""

    key: Path
    certificate: Path
    trust: Path
    row: Certificate

    def options(self) -> list[str]:
        """Of a dcmtk program."""
        return ["+tls", str(self.key), str(self.certificate), "+cf", str(self.trust)]

    def context(self, **versions: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for name, value in versions.items():
            setattr(context, name, value)
        context.load_verify_locations(self.trust)
        context.load_cert_chain(self.certificate, self.key)
        return context


def device(hospital: Any, folder: Path, *, name: str = "CT 1", node: Node | None = None, hosts: list[str] | None = None) -> Device:
    """A key and a certificate made by us, as downloaded."""
    folder.mkdir(parents=True, exist_ok=True)
    with hospital.scope():
        made = certificate_make(actor=ACTOR, name=name, node=node, hosts=hosts or [])
        trust = contexts.trust_bundle()
    found = Device(folder / "key.pem", folder / "certificate.pem", folder / "trust.pem", made.certificate)
    for path in (found.key, found.certificate):
        path.write_text(made.pem)
    found.trust.write_text(trust)
    trust_fresh()
    return found


def trust_fresh() -> None:
    """As if the second had passed after which the listener looks for new authorities."""
    if contexts._made is not None:
        contexts._made = (0.0, *contexts._made[1:])


def request_make(key: Any, *, name: str = "CT 2", digest: Any = None, hosts: tuple[str, ...] = ()) -> str:
    """A signing request with extensions that nobody grants: a CA that lives for ever."""
    from cryptography.hazmat.primitives import hashes

    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
    return builder.sign(key, digest or hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def services() -> Services:
    return Services(
        admit=associations.association_admit, receive=IncomingObject, alive=associations.associations_alive,
        ended=associations.association_end, thread_end=associations.thread_end, find=doors.identifier_find,
        retrieve=doors.identifier_retrieve, secure=contexts.server_context, refused=associations.association_refused,
    )  # fmt: skip


@contextmanager
def secure_serving(**options: Any) -> Iterator[Listener]:
    """Both ports, as the worker runs them; with limits of seconds a test can wait for."""
    given = {name: options.pop(name) for name in ("others", "handlers") if name in options}
    limits = AssociationLimits(handshake_seconds=1.0, request_seconds=1.0)
    found = Listener("127.0.0.1", 0, secure=("127.0.0.1", 0), services=replace(services(), **given), **{"limits": limits, **options})
    found.start()
    try:
        yield found
    finally:
        found.stop(2)


def secure_peer(program: str, port: int, who: Device, *options: str, hospital: Any, **more: Any) -> str:
    """A dcmtk program over TLS; its output with the exit code in front."""
    more = {"called": hospital.called_ae, "calling": hospital.calling_ae, **more}
    return peer(program, port, *who.options(), *options, **more)


def openssl(port: int, *options: str) -> str:
    """openssl s_client: what it says, with the exit code in front."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options], input=b"", capture_output=True, timeout=20, check=False
    )
    return f"exit {done.returncode}\n{done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}"




@contextmanager
def secure_storescp(who: Device, folder: Path, *options: str) -> Iterator[int]:
    """dcmtk's storescp over TLS, which demands a client certificate; its port."""
    need(shutil.which("storescp") is not None, "dcmtk's storescp")
    folder.mkdir()
    port = port_free()
    with (folder.parent / "storescp.log").open("wb") as log:
        process = subprocess.Popen(
            ["storescp", "-v", *who.options(), *options, "-od", str(folder), str(port)], stdout=log, stderr=log
        )
        try:
            assert eventually(lambda: _is_listening(port))
            yield port
        finally:
            process.terminate()
            process.wait(5)


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
