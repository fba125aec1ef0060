"""What the DIMSE listener may ask (`app.conf.medhub_dimse`): matches of a C-FIND, objects of a C-MOVE or C-GET. PS3.4 C.4.

The scopes of an association's hospital are opened here, short ones: rows are read, audited and let go before a byte leaves.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar

from django.db import DatabaseError, InterfaceError, close_old_connections, connection, transaction

from imaging.dimse.contexts import PATIENT_ROOT
from imaging.dimse.contract import (
    Admission,
    Destination,
    Found,
    Inquiry,
    InquiryRefused,
    Retrieval,
    StoredObject,
)
from imaging.dimse.messages import (
    CANNOT_PERFORM,
    DESTINATION_UNKNOWN,
    IDENTIFIER_MISMATCH,
    OUT_OF_RESOURCES,
    PENDING,
    PENDING_WITH_WARNING,
)
from imaging.models import Node
from imaging.query.answers import AnswerEncoder
from imaging.query.attributes import Attribute, Level
from imaging.query.keys import QueryError, identifier_read, query_parse, retrieve_parse
from imaging.query.rows import QueryTooWideError, query_rows
from imaging.querytags.known import tags_declared
from imaging.scu.association import tls_context
from imaging.storage import object_path
from journal.audit import BUCKET_SECONDS, Actor, audit_record
from journal.trace import trace
from journal.wall.scope import tenant_id_current, tenant_scope
from tenants.egress import EgressFailed, EgressRefused, address_check

TEND_SECONDS = 5.0
REMEMBER = 10_000
DATABASE_AWAY = "the archive cannot be asked just now"
OBJECTS_CAP = 100_000  # of one retrieval: they are all known before the first one leaves

Row = TypeVar("Row")

_tended = threading.local()
_audited: dict[tuple[int, str], int] = {}  # association and action -> its five minutes


def identifier_find(*, admission: Admission, inquiry: Inquiry) -> Found:
    """Raises InquiryRefused here, or while the answers are taken."""
    is_patient_root, known = inquiry.sop_class_uid.startswith(PATIENT_ROOT), _known(admission)
    try:
        identifier = identifier_read(inquiry.identifier, transfer_syntax_uid=inquiry.transfer_syntax_uid, known=known)
        query = query_parse(
            level=identifier.level, keys=identifier.keys, is_patient_root=is_patient_root, is_combined=inquiry.is_combined,
            character_set=identifier.character_set, known=known,
        )  # fmt: skip
    except QueryError as error:
        raise InquiryRefused(IDENTIFIER_MISMATCH, error.comment) from None
    encoder = AnswerEncoder(query, transfer_syntax_uid=inquiry.transfer_syntax_uid, retrieve_ae=admission.called_ae)
    pages = query_rows(query, tenant_id=admission.tenant_id, at_start=lambda: find_audit(admission, query.level.name))
    return Found(PENDING_WITH_WARNING if query.has_unsupported else PENDING, answers_make(admission, pages, encoder.encode))


def _known(admission: Admission) -> Mapping[int, Attribute]:
    """What the hospital can be asked for. Raises InquiryRefused."""
    try:
        with _connection_tended():
            return tags_declared(tenant_id=admission.tenant_id).attributes
    except (DatabaseError, InterfaceError):
        raise InquiryRefused(OUT_OF_RESOURCES, DATABASE_AWAY) from None


def answers_make(admission: Admission, pages: Iterator[list[Row]], encode: Callable[[Row], bytes]) -> Iterator[bytes]:
    """Encoded rows. The first page is read here: a malformed value refuses the query before anything is answered."""
    taken = _taken(admission, pages)
    first = next(taken, [])
    return (encode(row) for row in chain(first, chain.from_iterable(taken)))


def _taken(admission: Admission, pages: Iterator[list[Row]]) -> Iterator[list[Row]]:
    """Pages under the association's trace, what goes wrong said in the words of the protocol."""
    while True:
        try:
            with trace(admission.trace_id), _connection_tended():
                page = next(pages, None)
        except QueryError as error:
            raise InquiryRefused(IDENTIFIER_MISMATCH, error.comment) from None
        except QueryTooWideError as error:
            raise InquiryRefused(OUT_OF_RESOURCES, error.comment) from None
        except (DatabaseError, InterfaceError):
            raise InquiryRefused(OUT_OF_RESOURCES, DATABASE_AWAY) from None
        if page is None:
            return
        yield page


@contextmanager
def _connection_tended() -> Iterator[None]:
    """A connection that was not used for a while is looked at before it is used, and a broken one is given up at once."""
    if time.monotonic() - getattr(_tended, "at", -TEND_SECONDS) >= TEND_SECONDS:
        close_old_connections()
    try:
        yield
    except (DatabaseError, InterfaceError):
        _tended.at = -TEND_SECONDS
        close_old_connections()
        raise
    _tended.at = time.monotonic()


def find_audit(admission: Admission, level: str, *, action: str = "dicom.find") -> None:
    """One row an association and five minutes, like every audit record; asked for once in that time."""
    bucket, what = int(time.time()) // BUCKET_SECONDS, (admission.association_id, action)
    if _audited.get(what) == bucket:
        return
    if len(_audited) >= REMEMBER:
        _audited.clear()
    transaction.on_commit(lambda: _audited.__setitem__(what, bucket))
    audit_record(
        actor=_actor(admission), action=action, object_type="Association", object_id=str(admission.association_id),
        detail={"level": level},
    )  # fmt: skip


def _actor(admission: Admission) -> Actor:
    return Actor(name=f"ae:{admission.calling_ae}", address=admission.address or None)


def identifier_retrieve(*, admission: Admission, inquiry: Inquiry, destination: str = "") -> Retrieval:
    """Raises InquiryRefused."""
    is_patient_root = inquiry.sop_class_uid.startswith(PATIENT_ROOT)
    is_move = inquiry.sop_class_uid.endswith(".2")
    try:
        identifier = identifier_read(inquiry.identifier, transfer_syntax_uid=inquiry.transfer_syntax_uid)
        level, unique = retrieve_parse(identifier, is_patient_root=is_patient_root)
    except QueryError as error:
        raise InquiryRefused(IDENTIFIER_MISMATCH, error.comment) from None
    try:
        with trace(admission.trace_id), _connection_tended(), tenant_scope(admission.tenant_id):
            node = _destination_node(destination) if is_move else None
            rows = _objects_select(level, unique)
            _retrieve_audit(admission, {row[0] for row in rows}, node)
    except (DatabaseError, InterfaceError):
        raise InquiryRefused(OUT_OF_RESOURCES, DATABASE_AWAY) from None
    objects = [StoredObject(sop_class, uid, syntax, object_path(key)) for _, sop_class, uid, syntax, key in rows]
    return Retrieval(objects, _destination(node) if node is not None else None)


def _destination_node(ae_title: str) -> Node:
    node = Node.objects.filter(ae_title=ae_title).first()
    if node is None:
        raise InquiryRefused(DESTINATION_UNKNOWN, "the move destination is not a node of this hospital")
    if not node.host or not node.port:
        raise InquiryRefused(DESTINATION_UNKNOWN, "the move destination has no host and port")
    return node


def _destination(node: Node) -> Destination:
    """The name is resolved and looked at outside of any transaction."""
    try:
        address = address_check(host=node.host, port=node.port or 0)
    except EgressRefused:
        raise InquiryRefused(CANNOT_PERFORM, "destination: private or not allowed (EGRESS_ALLOW)") from None
    except EgressFailed:
        raise InquiryRefused(CANNOT_PERFORM, "destination: host name not found") from None
    return Destination(node.ae_title, address, node.port or 0, tls_context(node=node), node.host)


_OBJECTS_SQL = (
    "SELECT s.id, i.sop_class_uid, i.sop_instance_uid, i.transfer_syntax_uid, i.key FROM imaging_instance i "
    "JOIN imaging_series e ON e.tenant_id = i.tenant_id AND e.id = i.series_id "
    "JOIN imaging_study s ON s.tenant_id = i.tenant_id AND s.id = i.study_id {patient}"
    "WHERE {where} ORDER BY s.id, e.number, e.id, i.number, i.id LIMIT %s"
)
_UNIQUE_SQL: dict[Level, Callable[[tuple[str, ...]], tuple[str, object]]] = {
    Level.PATIENT: lambda values: ("p.patient_id = %s", values[0]),
    Level.STUDY: lambda values: ("s.study_uid = ANY(%s)", list(values)),
    Level.SERIES: lambda values: ("e.series_uid = ANY(%s)", list(values)),
    Level.IMAGE: lambda values: ("i.sop_instance_uid = ANY(%s)", list(values)),
}


def _objects_select(level: Level, unique: dict[Level, tuple[str, ...]]) -> list[tuple[int, str, str, str, str]]:
    """(study id, SOP class, SOP instance, transfer syntax, key) in the order people look at them."""
    conditions = [_UNIQUE_SQL[at](values) for at, values in unique.items()]
    aliases = ["i", "e", "s"] + ["p"] * (Level.PATIENT in unique)
    patient = "JOIN imaging_patient p ON p.tenant_id = s.tenant_id AND p.id = s.patient_id " if "p" in aliases else ""
    where = [*(f"{alias}.tenant_id = %s" for alias in aliases), *(sql for sql, _ in conditions)]
    sql = _OBJECTS_SQL.format(patient=patient, where=" AND ".join(where))
    with connection.cursor() as cursor:
        cursor.execute(sql, [*[tenant_id_current()] * len(aliases), *(value for _, value in conditions), OBJECTS_CAP + 1])
        rows = cursor.fetchall()
    if len(rows) > OBJECTS_CAP:
        raise InquiryRefused(OUT_OF_RESOURCES, "too many objects for one retrieval")
    return rows


def _retrieve_audit(admission: Admission, study_ids: set[int], node: Node | None) -> None:
    action = "dicom.get" if node is None else "dicom.move"
    for study_id in sorted(study_ids):
        audit_record(
            actor=_actor(admission), action=action, object_type="Study", object_id=str(study_id),
            detail={"node": str(node.id)} if node is not None else {},
        )  # fmt: skip
