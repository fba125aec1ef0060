"""The DICOM peers of a hospital and what each may ask for. Called by the command, admission, the API and the portal."""

import ipaddress
from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from imaging.certificates.authority import CertificateError, certificate_load, certificate_pem
from imaging.certificates.services import node_certificates_revoke
from imaging.models import Node
from journal.audit import Actor, audit_record

SERVICES = ("store", "find", "move", "get", "commit", "worklist")
DEFAULT_SERVICES = ("store",)
MAX_ADDRESSES = 64
PLAIN = (
    "description", "host", "port", "uses_tls", "retrieve_by", "is_asked_for_priors", "priors_count", "priors_years",
    "tls_certificate",
)  # fmt: skip


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
    """May this node call from there? IPv4 in IPv6 counts as IPv4."""
    if not node.addresses:
        return True
    peer: Any = ipaddress.ip_address(address.split("%")[0])
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return any(peer in ipaddress.ip_network(text) for text in node.addresses)


def node_add(*, ae_title: str, address: str | None = None, services: Iterable[str] | None = None, **facts: Any) -> Node:
    """Let a calling AE in (idempotent). What is not given keeps its value; a new node may store, from any address.

    `address` is the only one it may call from, or several with commas ("": any); `host` and `port` are where it listens.
    Facts that are None are not given. Raises NodeError.
    """
    facts = {name: value for name, value in facts.items() if value is not None}
    if address is not None:
        facts["addresses"] = address.split(",")
    given = _facts_check(facts) | ({} if services is None else _flags(services))
    node, _ = Node.objects.update_or_create(
        ae_title=ae_title, defaults=given, create_defaults=_flags(DEFAULT_SERVICES) | given,
    )
    return node


def node_create(*, actor: Actor, ae_title: str, services: Iterable[str] = DEFAULT_SERVICES, **facts: Any) -> Node:
    """A new node. Raises NodeError, also for an AE title that the hospital has already."""
    node = Node(ae_title=ae_title_check(ae_title), **_flags(services), **_facts_check(facts))
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
    if any(name in given and given[name] != getattr(node, name) for name in ("ae_title", "host", "port", "uses_tls", "tls_certificate")):
        given |= {"last_check": None, "checked_at": None}
    for name, value in given.items():
        setattr(node, name, value)
    _save(node, is_new=False)
    audit_record(actor=actor, action="node.update", object_type="Node", object_id=str(node.id))
    return node


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
    if given.get("retrieve_by", "move") not in Node.RetrieveBy.values:
        raise NodeError("retrieve_by", "retrieve by move or get")
    return given


def _flags(services: Iterable[str]) -> dict[str, bool]:
    allowed = frozenset(services)
    if not allowed <= set(SERVICES):
        raise NodeError("services", f"services are of {', '.join(SERVICES)}")
    return {f"is_{service}_allowed": service in allowed for service in SERVICES}


def services_of(node: Node) -> frozenset[str]:
    """What the node may ask for; nothing at all means that it may not even associate."""
    return frozenset(service for service in SERVICES if getattr(node, f"is_{service}_allowed"))
