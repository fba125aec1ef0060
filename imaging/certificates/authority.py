"""X.509 (RFC 5280) without a database: an authority, requests checked, certificates and revocation lists signed.

`services` calls it. Keys are RSA of 3072 bits: what the oldest scanners understand and BCP 195 still allows.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

RSA_BITS = 3072
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
AUTHORITY_DAYS, CERTIFICATE_DAYS, LIST_DAYS = 3652, 365, 7
BACKDATE = timedelta(minutes=10)  # clocks of devices run late
MAX_REQUEST_CHARS = 16 << 10
MAX_NAMES = 32
NAME_CHARS = 64  # ub-common-name
MIN_PASSWORD_CHARS = 12
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PrivateKey = rsa.RSAPrivateKey


class CertificateError(Exception):
    """No certificate can be made of this. The text is ours and names the field; it is shown to whoever asked."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


@dataclass(frozen=True, slots=True)
class Signer:
    """An authority that can sign."""

    certificate: x509.Certificate
    key: PrivateKey


@dataclass(frozen=True, slots=True)
class Wish:
    """What a certificate shall be about. Of a request only these are taken; all extensions are ours."""

    name: str
    hosts: tuple[str, ...]  # DNS names and addresses
    key: PublicKey


def key_make() -> PrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def key_words(key: object) -> str:
    """RSA 3072, P-256."""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}.get(getattr(getattr(key, "curve", None), "name", ""), "?")


def fingerprint_of(certificate: x509.Certificate) -> str:
    """SHA-256 of the encoded certificate, hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def key_fingerprint(key: PublicKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, hex."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


def name_check(text: str) -> str:
    """A common name without the spaces around it. Raises CertificateError."""
    name = text.strip()
    if not 1 <= len(name) <= NAME_CHARS or not name.isprintable():
        raise CertificateError("name", f"a name has 1 to {NAME_CHARS} printable characters")
    return name


def hosts_check(texts: Iterable[str]) -> tuple[str, ...]:
    """DNS names and addresses in their canonical form, each once. Raises CertificateError."""
    found: dict[str, None] = {}
    for text in (text.strip() for text in texts):
        if text:
            found[_host(text)] = None
    if len(found) > MAX_NAMES:
        raise CertificateError("hosts", f"at most {MAX_NAMES} host names and addresses")
    return tuple(found)


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in text.split(".")):
        raise CertificateError("hosts", "a host is a DNS name like ct1.radiology.example, without wildcards, or an address")
    return text.lower()


def request_read(pem: str) -> Wish:
    """A signing request (PKCS #10). Raises CertificateError for what is malformed, weak, or not signed by its own key."""
    if len(pem) > MAX_REQUEST_CHARS:
        raise CertificateError("csr", "a signing request has at most 16 KiB")
    try:
        request = x509.load_pem_x509_csr(pem.encode("ascii", "replace"))
        digest = request.signature_hash_algorithm
        is_signed = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateError("csr", "this is no signing request in PEM form, or its algorithms are not supported") from None
    if isinstance(digest, hashes.SHA1 | hashes.MD5):
        raise CertificateError("csr", "the request is signed with SHA-1 or MD5: make it with SHA-256")
    if not is_signed:
        raise CertificateError("csr", "the request is not signed by its own key")
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Wish(str(names[0].value) if names else "", hosts_check(_hosts_of(request)), key_check(key))


def _hosts_of(request: x509.CertificateSigningRequest) -> list[str]:
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except (ValueError, x509.DuplicateExtension):
        raise CertificateError("csr", "the extensions of the request cannot be read") from None
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def key_check(key: object) -> PublicKey:
    """RSA of 2048 bits or more, or a NIST curve. Raises CertificateError."""
    if isinstance(key, rsa.RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS or key.public_numbers().e < 65537:
            raise CertificateError("csr", f"an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits and the exponent 65537")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, CURVES):
        return key
    raise CertificateError("csr", "the key must be RSA, or of the curve P-256, P-384 or P-521")


def authority_make(*, name: str, organization: str, now: datetime) -> Signer:
    """A root of its own; it signs end entities only (pathlen 0)."""
    key = key_make()
    subject = x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization[:NAME_CHARS]),
        x509.NameAttribute(NameOID.COMMON_NAME, name[:NAME_CHARS]),
    ])
    builder = (
        _builder(subject, subject, key.public_key(), now, now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Signer(builder.sign(key, hashes.SHA256()), key)


def certificate_issue(signer: Signer, wish: Wish, *, now: datetime, days: int = CERTIFICATE_DAYS) -> x509.Certificate:
    """For a client or a server, whatever the request had wanted; never longer than the authority itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name_check(wish.name))])
    issuer = signer.certificate
    builder = (
        _builder(subject, issuer.subject, wish.key, now, min(now + timedelta(days=days), issuer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False, is_rsa=isinstance(wish.key, rsa.RSAPublicKey)), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(wish.key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )
    if wish.hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(host) for host in wish.hosts]), critical=False)
    return builder.sign(signer.key, hashes.SHA256())


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - BACKDATE).not_valid_after(ends)


def _usage(*, signs: bool, is_rsa: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_encipherment=is_rsa, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def revocations_sign(signer: Signer, revoked: Iterable[tuple[int, datetime, str]], *, now: datetime) -> bytes:
    """The revocation list (RFC 5280 5), PEM. `revoked`: serial number, when, reason as `x509.ReasonFlags` names it."""
    builder = (
        x509.CertificateRevocationListBuilder().issuer_name(signer.certificate.subject)
        .last_update(now).next_update(now + timedelta(days=LIST_DAYS))
        .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )  # fmt: skip
    for serial, at, reason in revoked:
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
        if reason != "unspecified":
            one = one.add_extension(x509.CRLReason(x509.ReasonFlags[reason]), critical=False)
        builder = builder.add_revoked_certificate(one.build())
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


# encodings


def certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def certificate_load(pem: str) -> x509.Certificate:
    """Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificate(pem.encode("ascii", "replace"))
    except ValueError:
        raise CertificateError("certificate", "this is no certificate in PEM form") from None


def subject_words(pem: str) -> str:
    """The subject in one line, as RFC 4514 writes it."""
    return certificate_load(pem).subject.rfc4514_string()


def certificates_load(pem: bytes) -> list[x509.Certificate]:
    """All certificates of a PEM file. Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CertificateError("certificate", "this is no certificate in PEM form") from None


def key_pem(key: PrivateKey) -> bytes:
    """PKCS #8, not encrypted: for a sealed column, or for the person it is shown to once."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )  # fmt: skip


def key_load(pem: bytes) -> PrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("our own keys are RSA")
    return key


def password_check(password: str) -> None:
    """Raises CertificateError for one that is too short to protect a key."""
    if len(password) < MIN_PASSWORD_CHARS:
        raise CertificateError("password", f"at least {MIN_PASSWORD_CHARS} characters")


def pkcs12_pack(
    key: PrivateKey, certificate: x509.Certificate, chain: Sequence[x509.Certificate], *, name: str, password: str
) -> bytes:
    """Key and certificates in one encrypted file (AES-256). Raises CertificateError."""
    password_check(password)
    protection = serialization.BestAvailableEncryption(password.encode())
    return pkcs12.serialize_key_and_certificates(name.encode(), key, certificate, list(chain), protection)
