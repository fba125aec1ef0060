"""TLS contexts (BCP 195, PS3.15 B.12): the listener's, which trusts every hospital's authority, and ours when we call a node.

`server_context` is what the DIMSE listener is given; `imaging.scu` takes `client_context`.
"""

import fcntl
import logging
import os
import ssl
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError
from django.utils import timezone

from imaging.certificates import authority as ca
from imaging.certificates.authority import CertificateError
from imaging.certificates.selectors import own_certificate
from imaging.certificates.services import WARN_DAYS, authority_ensure
from imaging.models import Node
from journal.wall.scope import tenant_scope
from tenants.crypto import SecretLostError, secret_open
from tenants.selectors import authorities_trusted, authorities_version, authority_of

log = logging.getLogger(__name__)

# forward secrecy and authenticated encryption only (RFC 9325 4.2); TLS 1.3 has nothing else
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
LOOK_SECONDS = 1.0  # how old the list of trusted authorities may be
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
MADE_DAYS = 3652

_lock = threading.Lock()
_made: tuple[float, object, ssl.SSLContext] | None = None


class TlsNotSetUpError(Exception):
    """The listener has no certificate, or one that cannot be read; the text is for the operator."""


def server_context() -> ssl.SSLContext:
    """TLS 1.2 or later, a client certificate of one of our authorities demanded. Raises TlsNotSetUpError.

    Made anew when an authority came or went, or the listener's certificate was changed: no restart. The time of a client
    certificate is not looked at here but at admission, so that its hospital sees why it was refused.
    """
    made = _made
    if made is not None and time.monotonic() - made[0] < LOOK_SECONDS:
        return made[2]
    if not _lock.acquire(blocking=made is None) and made is not None:
        return made[2]  # somebody else is looking, and a database that hangs must not hold up every handshake
    try:
        return _server_context_look()
    finally:
        _lock.release()


def _server_context_look() -> ssl.SSLContext:
    global _made
    certificate, key = server_files()
    try:
        version: object = (authorities_version(), certificate.stat().st_mtime_ns, key.stat().st_mtime_ns)
        context = _made[2] if _made is not None and _made[1] == version else None
        context = context or _server_context(certificate, key, authorities_trusted())
    except (DatabaseError, OSError, TlsNotSetUpError) as error:
        # known devices are taken while the database is away (imaging.associations); files may be in the middle of a change
        if _made is None:
            raise
        log.error("TLS: authorities and certificate from memory: %s", type(error).__name__)
        _, version, context = _made
    _made = (time.monotonic(), version, context)
    return context


def _server_context(certificate: Path, key: Path, trusted: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0  # a resumed session would show the certificate of another day
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= NO_CHECK_TIME
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise TlsNotSetUpError(f"MEDHUB_DIMSE_TLS_CERT and MEDHUB_DIMSE_TLS_KEY cannot be used: {error.strerror or error}") from None
    if trusted:
        context.load_verify_locations(cadata="".join(trusted))
    ends = listener_ends()
    if ends is not None and ends - timezone.now() < timedelta(days=WARN_DAYS[0]):
        log.warning("TLS: the listener's certificate ends on %s: every device is turned away from then on", ends.date())
    return context


def server_files() -> tuple[Path, Path]:
    """The listener's certificate with its chain, and its key. Without settings they are made, once an install."""
    if settings.MEDHUB_DIMSE_TLS_CERT:
        return Path(settings.MEDHUB_DIMSE_TLS_CERT), Path(settings.MEDHUB_DIMSE_TLS_KEY or settings.MEDHUB_DIMSE_TLS_CERT)
    if not settings.MEDHUB_DIMSE_TLS_MADE:
        raise TlsNotSetUpError("MEDHUB_DIMSE_TLS_CERT and MEDHUB_DIMSE_TLS_KEY are required in production")
    folder = settings.MEDHUB_HOME / "tls"
    certificate, key = folder / "dimse.pem", folder / "dimse.key"
    if not certificate.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not certificate.exists():
                _server_make(certificate, key)
    return certificate, key


def _server_make(certificate: Path, key: Path) -> None:
    now = timezone.now()
    signer = ca.authority_make(name="MedHub DICOM listener CA", organization="MedHub", now=now)
    own = ca.key_make()
    hosts = tuple(found for host in settings.ALLOWED_HOSTS for found in _host_of(host))
    issued = ca.certificate_issue(signer, ca.Wish("MedHub DICOM listener", hosts, own.public_key()), now=now, days=MADE_DAYS)
    for path, content in (
        (key, ca.key_pem(own)),
        (certificate, (ca.certificate_pem(issued) + ca.certificate_pem(signer.certificate)).encode()),
    ):
        draft = path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(draft, path)


def _host_of(host: str) -> tuple[str, ...]:
    """A name that the web server answers for, if it can stand in a certificate."""
    try:
        return ca.hosts_check([host.strip("[].*")])
    except CertificateError:
        return ()


def server_check() -> None:
    """The listener's certificate and key can be used, and fit each other. Raises TlsNotSetUpError."""
    _server_context(*server_files(), [])


def listener_ends() -> datetime | None:
    """When the listener's certificate, or an authority in its file, is good no more; None where there is none to read."""
    try:
        chain = ca.certificates_load(server_files()[0].read_bytes())
    except (OSError, CertificateError, TlsNotSetUpError):
        return None
    return min((one.not_valid_after_utc for one in chain), default=None)


def listener_trust() -> list[str]:
    """What a device must trust to know our listener, PEM: the authorities in its file, else its certificate itself."""
    certificate, _ = server_files()
    try:
        chain = ca.certificates_load(certificate.read_bytes())
    except (OSError, CertificateError):
        return []
    roots = [one for one in chain if one.issuer == one.subject]
    return [ca.certificate_pem(one) for one in roots or chain[:1]]


def trust_bundle() -> str:
    """The file for a device's trust store, PEM: who vouches for our listener, and the hospital's own authority. In a scope."""
    own = ca.certificate_pem(authority_ensure().certificate)
    return "".join(f"# {ca.subject_words(one)}\n{one}" for one in [*listener_trust(), own])


def client_context(*, tenant_id: int, node: Node | None = None) -> ssl.SSLContext:
    """How a hospital calls a node: TLS 1.2 or later, its own client certificate shown if it has one.

    The node is known by the system's trust, by the hospital's authority, or only by the certificate that is set for it.
    Opens a scope itself, or joins that of the hospital.
    """
    pinned = node.tls_certificate if node is not None else ""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if pinned else ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if pinned:
        # that very certificate, whatever its name: there is nothing to compare the host with
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=pinned)
    public = authority_of(tenant_id=tenant_id)
    if public is None:
        return context
    if not pinned:
        context.load_verify_locations(cadata=public.certificate)
    with tenant_scope(tenant_id):
        own = own_certificate(now=timezone.now() + timedelta(minutes=1))
    if own is not None:
        try:
            _show(context, own.pem.encode() + public.certificate.encode(), secret_open(own.sealed_key, tenant_id=tenant_id))
        except SecretLostError:
            log.error("TLS: our client certificate cannot be shown: no vault key opens its key")
    return context


def _show(context: ssl.SSLContext, chain: bytes, key: bytes) -> None:
    """Load a key that lies in no file: OpenSSL wants a path, so it gets one into this process's memory."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, key + chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
