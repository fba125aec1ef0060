"""Who may open an association, and our side of each one. The DIMSE listener's callables."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from django.db import DatabaseError, close_old_connections, connections
from django.utils import timezone

from imaging.certificates.selectors import certificate_of, certificate_refusal
from imaging.dimse.contract import (
    CALLED_AE_UNKNOWN,
    CALLING_AE_UNKNOWN,
    NO_REASON,
    TEMPORARY_CONGESTION,
    Admission,
    Refusal,
)
from imaging.models import Association, Certificate, Node
from imaging.nodes import is_among, node_is_at, services_of
from journal.audit import Actor, audit_record
from journal.trace import trace, trace_new
from journal.wall.ids import id_new
from journal.wall.scope import tenant_scope
from tenants.models import CalledAE
from tenants.selectors import called_ae_get, tenant_of_ae, tenant_of_certificate

log = logging.getLogger(__name__)

REMEMBER_SECONDS = 900.0
REMEMBER_PEERS = 10_000
CALLED_UNKNOWN, CALLING_UNKNOWN = "called AE title not recognized", "calling AE title not recognized"
_admitted: dict[tuple[str, str, str, str], tuple[float, Admission | None]] = {}


def title_is_valid(text: str) -> bool:
    """The repertoire of an AE title (PS3.5 6.2 AE): nothing else is asked of a database."""
    return 0 < len(text) <= 16 and text.isascii() and text.isprintable() and "\\" not in text


def association_admit(*, called_ae: str, calling_ae: str, address: str, certificate: str = "") -> Admission | Refusal:
    """Called AE -> hospital, calling AE and address -> one of its nodes, over TLS also the client certificate. Deny by default.

    `certificate` is a fingerprint; it must be one that the same hospital has issued, alive, and this node's if it is bound to one.
    While the database is away, a device that was admitted in the last minutes still is (images fail open to their own hospital;
    that association has no row), and a device that we don't remember is asked to come back.
    """
    peer = (called_ae, calling_ae, address, certificate)
    if not title_is_valid(called_ae):
        return Refusal(*CALLED_AE_UNKNOWN, CALLED_UNKNOWN)
    if not title_is_valid(calling_ae):
        return Refusal(*CALLING_AE_UNKNOWN, CALLING_UNKNOWN)
    try:
        close_old_connections()
        answer = _admit(called_ae=called_ae, calling_ae=calling_ae, address=address, fingerprint=certificate)
    except DatabaseError:
        log.error("association decided from memory: database away")
        at, last = _admitted.get(peer, (0.0, None))
        if time.monotonic() - at > REMEMBER_SECONDS or last is None:
            return Refusal(*TEMPORARY_CONGESTION, "temporary congestion")
        return replace(last, association_id=id_new(), trace_id=trace_new())
    if isinstance(answer, Admission):
        if len(_admitted) >= REMEMBER_PEERS:
            _admitted.clear()
        _admitted[peer] = (time.monotonic(), answer)
    else:
        _admitted.pop(peer, None)
    return answer


def _admit(*, called_ae: str, calling_ae: str, address: str, fingerprint: str) -> Admission | Refusal:
    called = called_ae_get(ae_title=called_ae)
    tenant = called.tenant if called is not None else None
    facts = {"called_ae": called_ae, "calling_ae": calling_ae, "address": address, "is_secure": bool(fingerprint)}
    holder = tenant_of_certificate(fingerprint=fingerprint) if fingerprint else None
    if holder is not None and (tenant is None or holder != tenant.id):
        # whoever it was given to is looking for the reason too
        with tenant_scope(holder):
            _row(reason=f"{CALLED_UNKNOWN}: not this hospital's", **facts)
    if called is None or tenant is None:
        log.warning("association refused: called AE title not recognized, from %s", address)
        return Refusal(*CALLED_AE_UNKNOWN, CALLED_UNKNOWN)
    with tenant_scope(tenant.id):
        node, services = _peer(called, calling_ae, address, is_secure=bool(fingerprint))
        refusal = _refusal(fingerprint, node) if fingerprint else None
        if refusal is None and not services:
            refusal = Refusal(*CALLING_AE_UNKNOWN, CALLING_UNKNOWN)
        row = _row(reason=refusal.text if refusal is not None else "", **facts)
    if refusal is not None:
        return refusal
    return Admission(
        tenant_id=tenant.id, association_id=row.id, trace_id=row.trace_id, calling_ae=calling_ae, called_ae=called_ae,
        address=address, services=services,
    )  # fmt: skip


def _peer(called: CalledAE, calling_ae: str, address: str, *, is_secure: bool) -> tuple[Node | None, frozenset[str]]:
    """Who calls, and what is served: results alone under an AE title that they come back to, and from their platform alone."""
    if called.connection_id is not None:
        is_theirs = calling_ae == called.calling_ae and _is_known(called, address, is_secure=is_secure)
        return None, frozenset({"return"}) if is_theirs else frozenset()
    node = Node.objects.filter(ae_title=calling_ae).first()
    if node is None or not node_is_at(node, address=address):
        return node, frozenset()
    # One that may ask for nothing still brings the answers to what we have asked it.
    return node, services_of(node) | (frozenset({"answer"}) if node.is_commitment_asked else frozenset())


def _is_known(called: CalledAE, address: str, *, is_secure: bool) -> bool:
    """A platform is known by its address or by its certificate: AE titles are no secret."""
    if not called.addresses:
        return is_secure
    return is_among(called.addresses, address=address) and (is_secure or not called.needs_tls)


def _refusal(fingerprint: str, node: Node | None) -> Refusal | None:
    now = timezone.now()
    certificate = certificate_of(fingerprint=fingerprint)
    reason = certificate_refusal(certificate, node=node, now=now)
    if reason:
        return Refusal(*NO_REASON, reason)
    Certificate.objects.filter(fingerprint=fingerprint).update(seen_at=now)
    return None


def _row(*, reason: str, **facts: object) -> Association:
    """Open, or refused where there is a reason."""
    now = timezone.now()
    row: Association = Association.objects.create(
        id=id_new(), started_at=now, seen_at=now, ended_at=now if reason else None, outcome="refused" if reason else "open",
        reason=reason, trace_id=trace_new(), **facts,
    )  # fmt: skip
    return row


def association_refused(*, called_ae: str, calling_ae: str, address: str, reason: str) -> None:
    """The door has refused it; the hospital that the called AE title names sees why."""
    if not title_is_valid(called_ae) or not title_is_valid(calling_ae):
        return
    close_old_connections()
    tenant = tenant_of_ae(ae_title=called_ae)
    if tenant is not None:
        with tenant_scope(tenant.id):
            _row(reason=reason, called_ae=called_ae, calling_ae=calling_ae, address=address)


def associations_alive(*, admissions: Sequence[Admission]) -> None:
    """The heartbeat of open associations: completion waits only for those that still beat."""
    close_old_connections()
    by_tenant: dict[int, list[int]] = {}
    for admission in admissions:
        by_tenant.setdefault(admission.tenant_id, []).append(admission.association_id)
    for tenant_id, ids in by_tenant.items():
        with tenant_scope(tenant_id):
            Association.objects.filter(id__in=ids).update(seen_at=timezone.now())


def association_end(*, admission: Admission, outcome: str, stored: int) -> None:
    """Close our record: released, aborted or lost, with the number of objects stored."""
    close_old_connections()
    now = timezone.now()
    with trace(admission.trace_id), tenant_scope(admission.tenant_id):
        rows = Association.objects.filter(id=admission.association_id)
        rows.update(ended_at=now, seen_at=now, outcome=outcome, stored=stored)
        if stored:
            address = rows.values_list("address", flat=True).first()
            audit_record(
                actor=Actor(name=f"ae:{admission.calling_ae}", address=address), action="dicom.store",
                object_type="Association", object_id=str(admission.association_id), detail={"instances": stored},
            )  # fmt: skip


def thread_end() -> None:
    """An association's thread is over, and with it the connection that it used."""
    connections.close_all()
