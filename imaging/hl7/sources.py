"""Whose a message is: by client certificate, or by the peer's address; then by MSH-3 to MSH-6 among what its hospital has registered.

MSH says which of a hospital's sources speaks. Where two hospitals share an address (one interface engine for both), each source
must name a field of MSH in which the other's differs: no hospital can register itself between another one and its sender.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from imaging.certificates.selectors import certificate_of, certificate_refusal
from imaging.hl7.errors import MessageRefused
from imaging.hl7.reading import Told
from imaging.models import Certificate
from imaging.nodes import NodeError, addresses_check, is_among
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_id_current, tenant_scope
from tenants.models import Hl7Source
from tenants.selectors import tenant_of_certificate

NAMES = {"sending_application": 3, "sending_facility": 4, "receiving_application": 5, "receiving_facility": 6}
UNKNOWN = "this sender is not known here: register its address or certificate, and MSH-3 to MSH-6 as it sends them"
SOURCES_CAP = 100
WIDEST = {4: 16, 6: 48}  # bits of a network: nobody claims half the internet


class SourceError(Exception):
    """A source cannot be like that. The text is ours and may be shown."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


def source_of(*, told: Told, address: str, fingerprint: str) -> Hl7Source:
    """Raises MessageRefused (AR) for a sender that nobody, or more than one hospital, has registered."""
    rows = Hl7Source.objects.select_related("tenant").filter(tenant__is_active=True)
    if fingerprint:
        tenant_id = _certified(fingerprint)
        fitting = [row for row in rows.filter(tenant_id=tenant_id) if not row.addresses or is_among(row.addresses, address=address)]
    else:
        fitting = [row for row in rows.filter(needs_tls=False) if is_among(row.addresses, address=address)]
    said = {name: told.value("MSH", field) for name, field in NAMES.items()}
    fitting = [row for row in fitting if all(getattr(row, name) in {"", text} for name, text in said.items())]
    if len({row.tenant_id for row in fitting}) > 1:  # two at the same moment passed each other's check: nobody's then
        raise MessageRefused("MSH-3", UNKNOWN, code="AR")
    best = max((_weight(row) for row in fitting), default=0)
    chosen = [row for row in fitting if _weight(row) == best]
    if not chosen:
        raise MessageRefused("MSH-3", UNKNOWN, code="AR")
    return chosen[0]


def _weight(row: Hl7Source) -> int:
    """How exactly a source names its sender."""
    return 1 + sum(bool(getattr(row, name)) for name in NAMES)


def _certified(fingerprint: str) -> int:
    tenant_id = tenant_of_certificate(fingerprint=fingerprint)
    if tenant_id is None:
        raise MessageRefused("MSH-3", UNKNOWN, code="AR")
    with tenant_scope(tenant_id):
        now = timezone.now()
        words = certificate_refusal(certificate_of(fingerprint=fingerprint), node=None, now=now)
        if not words:
            Certificate.objects.filter(fingerprint=fingerprint).update(seen_at=now)
    if words:
        raise MessageRefused("MSH-3", words, code="AR")
    return tenant_id


def sources_list() -> list[Hl7Source]:
    """Of the hospital in scope, by name."""
    return list(Hl7Source.objects.filter(tenant_id=tenant_id_current()).order_by("name", "id"))


def source_get(*, source_id: int) -> Hl7Source | None:
    return Hl7Source.objects.filter(tenant_id=tenant_id_current(), id=source_id).first()


@transaction.atomic
def source_add(
    *, actor: Actor, name: str, addresses: Iterable[str] = (), needs_tls: bool = False, connection_id: int | None = None, **names: str
) -> Hl7Source:
    """Let somebody send. Raises SourceError: what nobody could tell from another hospital's is refused."""
    tenant_id = tenant_id_current()
    given = _checked(name=name, addresses=addresses, needs_tls=needs_tls, names=names)
    if Hl7Source.objects.filter(tenant_id=tenant_id).count() >= SOURCES_CAP:
        raise SourceError("name", f"a hospital has at most {SOURCES_CAP} sources")
    _alone_check(tenant_id, given)
    row = Hl7Source.objects.create(tenant_id=tenant_id, connection_id=connection_id, **given)
    audit_record(actor=actor, action="hl7.source.add", object_type="Hl7Source", object_id=str(row.id))
    return row


def source_remove(*, actor: Actor, row: Hl7Source) -> None:
    audit_record(actor=actor, action="hl7.source.remove", object_type="Hl7Source", object_id=str(row.id))
    row.delete()


def _checked(*, name: str, addresses: Iterable[str], needs_tls: bool, names: Mapping[str, str]) -> dict[str, Any]:
    if not name.strip():
        raise SourceError("name", "is missing")
    try:
        found = addresses_check(addresses)
    except NodeError as error:
        raise SourceError("addresses", str(error)) from None
    if not found and not needs_tls:
        raise SourceError("addresses", "without TLS an address is needed: names in a message are no secret")
    if not needs_tls and any(network.prefixlen < WIDEST[network.version] for network in map(ipaddress.ip_network, found)):
        raise SourceError("addresses", f"without TLS a network is /{WIDEST[4]} at most, of IPv6 /{WIDEST[6]}")
    if set(names) - set(NAMES):
        raise SourceError("name", "has a field that is none")
    return {
        "name": name.strip()[:80], "addresses": found, "needs_tls": needs_tls,
        **{field: names.get(field, "").strip()[:64] for field in NAMES},
    }  # fmt: skip


def _alone_check(tenant_id: int, given: Mapping[str, Any]) -> None:
    """Without TLS, no message may fit a source of another hospital too: not more exactly either, or it would take their messages."""
    if given["needs_tls"]:
        return
    for other in Hl7Source.objects.select_for_update().filter(needs_tls=False).exclude(tenant_id=tenant_id):
        is_told_apart = any(given[name] and getattr(other, name) and given[name] != getattr(other, name) for name in NAMES)
        if not is_told_apart and _overlap(given["addresses"], other.addresses):
            raise SourceError("addresses", "this sender is registered already: name more of MSH-3 to MSH-6, or use TLS")


def _overlap(one: Iterable[str], other: Iterable[str]) -> bool:
    networks = [ipaddress.ip_network(text) for text in other]
    return any(
        mine.version == theirs.version and mine.overlaps(theirs)
        for mine in map(ipaddress.ip_network, one) for theirs in networks
    )  # fmt: skip
