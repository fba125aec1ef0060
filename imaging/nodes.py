"""The DICOM peers of a hospital and what each may ask for. Called by the command, admission, the API and the portal."""

import ipaddress
from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from imaging.certificates.authority import CertificateError, certificate_load, certificate_pem
from imaging.certificates.services import node_certificates_revoke
from imaging.models import Node
from imaging.webout.address import AddressError, address_check, origin_of
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_id_current
from tenants.crypto import secret_seal

SERVICES = ("store", "find", "move", "get", "commit", "worklist")
DEFAULT_SERVICES = ("store",)
MAX_ADDRESSES = 64
PLAIN = (
    "description", "host", "port", "uses_tls", "retrieve_by", "is_asked_for_priors", "priors_count", "priors_years",
    "tls_certificate", "results_as", "results_by", "is_commitment_asked", "web_url", "web_auth", "web_user", "web_secret",
)  # fmt: skip
WHERE = ("ae_title", "host", "port", "uses_tls", "tls_certificate", "web_url", "web_auth", "web_user", "web_secret")
CHOICES = {
    "retrieve_by": (Node.RetrieveBy.values, "retrieve by move or get"),
    "results_as": (Node.ResultsAs.values, "results go as sr, pdf, sc or sr+pdf, or not at all"),
    "results_by": (Node.ResultsBy.values, "results go by dimse or stow"),
    "web_auth": (Node.WebAuth.values, "credentials are none, bearer or basic"),
}
MAX_USER = 120
MAX_SECRET = 4096


class NodeError(Exception):
    """A node cannot be like that. The text is ours and names the field; it is shown to whoever asked."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


def ae_title_check(text: str) -> str:
    """An AE title without its padding (PS3.5 6.2). Raises NodeError."""
    title = text.strip()
    if not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise NodeError("ae_title", "an AE title has 1 to 16 ASCII characters and no backslash (PS3.5 6.2)")
    return title


def addresses_check(texts: Iterable[str]) -> list[str]:
    """Addresses and CIDR networks in their canonical form; none means any. Raises NodeError."""
    found = []
    for text in (text.strip() for text in texts):
        if not text:
            continue
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise NodeError("addresses", "an address is like 10.1.2.3, 2001:db8::7 or 10.1.2.0/24") from None
        one = str(network.network_address) if network.num_addresses == 1 else str(network)
        if one not in found:
            found.append(one)
    if len(found) > MAX_ADDRESSES:
        raise NodeError("addresses", f"at most {MAX_ADDRESSES} addresses: use a network")
    return found


def node_is_at(node: Node, *, address: str) -> bool:
    """May this node call from there?"""
    return not node.addresses or is_among(node.addresses, address=address)


def is_among(addresses: Iterable[str], *, address: str) -> bool:
    """Is it one of these addresses, or in one of these networks? IPv4 in IPv6 counts as IPv4."""
    peer: Any = ipaddress.ip_address(address.split("%")[0])
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return any(peer in ipaddress.ip_network(text) for text in addresses)


def node_add(*, ae_title: str, address: str | None = None, services: Iterable[str] | None = None, **facts: Any) -> Node:
    """Let a calling AE in (idempotent). What is not given keeps its value; a new node may store, from any address.

    `address` is the only one it may call from, or several with commas ("": any); `host` and `port` are where it listens.
    Facts that are None are not given. Raises NodeError.
    """
    facts = {name: value for name, value in facts.items() if value is not None}
    if address is not None:
        facts["addresses"] = address.split(",")
    given = _facts_check(facts) | ({} if services is None else _flags(services))
    node: Node | None = Node.objects.filter(ae_title=ae_title).first()
    is_new = node is None
    if node is None:
        node = Node(ae_title=ae_title, **_flags(DEFAULT_SERVICES))
    _set(node, given)
    _save(node, is_new=is_new)
    return node


def node_create(*, actor: Actor, ae_title: str, services: Iterable[str] = DEFAULT_SERVICES, **facts: Any) -> Node:
    """A new node. Raises NodeError, also for an AE title that the hospital has already."""
    node = Node(ae_title=ae_title_check(ae_title), **_flags(services))
    _set(node, _facts_check(facts))
    _save(node, is_new=True)
    audit_record(actor=actor, action="node.create", object_type="Node", object_id=str(node.id))
    return node


def node_update(
    *, actor: Actor, node: Node, ae_title: str | None = None, services: Iterable[str] | None = None, **facts: Any
) -> Node:
    """Change what is given; a node that was moved is not checked any more. Raises NodeError."""
    given = _facts_check(facts) | ({} if services is None else _flags(services))
    if ae_title is not None:
        given["ae_title"] = ae_title_check(ae_title)
    before = [getattr(node, name) for name in WHERE]
    _set(node, given)
    if before != [getattr(node, name) for name in WHERE]:
        node.last_check = node.checked_at = None
    _save(node, is_new=False)
    audit_record(actor=actor, action="node.update", object_type="Node", object_id=str(node.id))
    return node


def _set(node: Node, given: dict[str, Any]) -> None:
    """Put the facts on the node; what only some of them together can be is looked at here. Raises NodeError."""
    held, was = node.web_secret, (node.web_auth, origin_of(node.web_url))
    secret = given.pop("web_secret", "")
    for name, value in given.items():
        setattr(node, name, value)
    node.web_secret = _secret(node, secret, held if was == (node.web_auth, origin_of(node.web_url)) else "")
    if node.web_auth != Node.WebAuth.BASIC:
        node.web_user = ""
    elif not node.web_user:
        raise NodeError("web_user", "basic needs a user and a password")
    if node.results_as and node.results_by == Node.ResultsBy.STOW and not node.web_url:
        raise NodeError("web_url", "results by STOW-RS need the address of its DICOMweb")


def _secret(node: Node, given: str, held: str) -> str:
    """Sealed. An empty one keeps what is held; `held` is empty for another server or another kind of credential."""
    if node.web_auth == Node.WebAuth.NONE or not node.web_url:
        node.web_auth = Node.WebAuth.NONE  # a credential without an address is nobody's
        return ""
    if not given and not held:
        raise NodeError("web_secret", "enter the token or password: none is held for this address")
    if node.web_auth == Node.WebAuth.BEARER and not (given.isascii() and " " not in given):
        raise NodeError("web_secret", "a bearer token has ASCII characters and no spaces (RFC 6750)")
    return secret_seal(given.encode(), tenant_id=tenant_id_current()) if given else held


def _save(node: Node, *, is_new: bool) -> None:
    try:
        with transaction.atomic():
            node.save(force_insert=is_new)
    except IntegrityError:
        raise NodeError("ae_title", "this hospital has a node with that AE title already") from None


def node_delete(*, actor: Actor, node: Node) -> None:
    """From now on it is a stranger, its certificates are revoked. Its transfers end; what they brought and their history stay."""
    from_it = node.transfer_set.filter(state__in=["queued", "running"])  # type: ignore[attr-defined]
    now = timezone.now()
    from_it.update(state="cancelled", due_at=None, ended_at=now, changed_at=now, last_error="the node was deleted")
    node_certificates_revoke(actor=actor, node=node)
    audit_record(actor=actor, action="node.delete", object_type="Node", object_id=str(node.id), detail={"ae": node.ae_title})
    node.delete()


def _facts_check(facts: dict[str, Any]) -> dict[str, Any]:
    """Raises NodeError for a value, TypeError for a name that nodes don't have."""
    given = dict(facts)
    if "addresses" in given:
        given["addresses"] = addresses_check(given["addresses"])
    unknown = set(given) - {"addresses", *PLAIN}
    if unknown:
        raise TypeError(f"unknown facts of a node: {', '.join(sorted(unknown))}")
    port = given.get("port")
    if port is not None and not 1 <= port <= 65535:
        raise NodeError("port", "a port is 1 to 65535")
    if "host" in given:
        given["host"] = given["host"].strip()
        if len(given["host"]) > 255 or not given["host"].isascii() or any(c in given["host"] for c in " /@\\"):
            raise NodeError("host", "a host is a name or an address, without scheme and port")
    if given.get("tls_certificate"):
        try:
            given["tls_certificate"] = certificate_pem(certificate_load(given["tls_certificate"].strip()))
        except CertificateError as error:
            raise NodeError("tls_certificate", str(error)) from None
    for name, (values, words) in CHOICES.items():
        if name in given and given[name] not in values:
            raise NodeError(name, words)
    return given | _web_check(given)


def _web_check(facts: dict[str, Any]) -> dict[str, str]:
    """The facts about DICOMweb that are given, in their canonical form. Raises NodeError."""
    found = {name: str(facts[name]).strip() for name in ("web_url", "web_user", "web_secret") if name in facts}
    if found.get("web_url"):
        try:
            found["web_url"] = address_check(found["web_url"])
        except AddressError as error:
            raise NodeError("web_url", str(error)) from None
    user, secret = found.get("web_user", ""), found.get("web_secret", "")
    if len(user) > MAX_USER or ":" in user or not user.isprintable():
        raise NodeError("web_user", f"a user has at most {MAX_USER} characters, and no colon (RFC 7617)")
    if len(secret) > MAX_SECRET or not secret.isprintable():
        raise NodeError("web_secret", f"a token or password has at most {MAX_SECRET} printable characters")
    return found


def _flags(services: Iterable[str]) -> dict[str, bool]:
    allowed = frozenset(services)
    if not allowed <= set(SERVICES):
        raise NodeError("services", f"services are of {', '.join(SERVICES)}")
    return {f"is_{service}_allowed": service in allowed for service in SERVICES}


def services_of(node: Node) -> frozenset[str]:
    """What the node may ask for; nothing at all means that it may not even associate."""
    return frozenset(service for service in SERVICES if getattr(node, f"is_{service}_allowed"))
