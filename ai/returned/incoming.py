"""C-STORE to a return AE: the DIMSE listener opens every arriving object here; images of devices go on to `imaging.ingest`."""

import logging

from ai.returned.keeping import (
    CLASS_NOT_SUPPORTED,
    NOT_A_RESULT,
    Origin,
    is_result,
    result_check,
    returned_draft,
    returned_keep,
)
from imaging.dimse.contract import Admission, Incoming, StoreAnswer, StoreRefused
from imaging.inbox import Bytes, Draft
from imaging.ingest import NO_MATCH, PROCESSING_FAILURE, IncomingObject, Refused, dataset_check, disk_status, quota_take
from imaging.part10 import file_meta_bytes
from journal.audit import Actor
from tenants.selectors import called_ae_get

log = logging.getLogger(__name__)


def incoming_open(
    *, admission: Admission, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
) -> Incoming:
    """`imaging.dimse.contract.Receive`."""
    kind: type[IncomingObject] | type[IncomingResult] = IncomingResult if "return" in admission.services else IncomingObject
    return kind(
        admission=admission, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid, transfer_syntax_uid=transfer_syntax_uid
    )


class IncomingResult:
    """A result on its way in: straight to its file, checked, made durable, its row written, then acknowledged."""

    def __init__(self, *, admission: Admission, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> None:
        self._admission = admission
        self._uids = (sop_class_uid, sop_instance_uid)
        self._transfer_syntax_uid = transfer_syntax_uid
        self._meta = file_meta_bytes(
            sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid, transfer_syntax_uid=transfer_syntax_uid,
            source_ae=admission.calling_ae,
        )  # fmt: skip
        self._draft: Draft | None = None

    def write(self, fragment: Bytes) -> None:
        """Raises StoreRefused, at once for what is no result."""
        if not is_result(self._uids[0]):
            raise StoreRefused(StoreAnswer(CLASS_NOT_SUPPORTED, NOT_A_RESULT[:64]))
        try:
            if self._draft is None:
                given = self._admission
                self._draft = returned_draft(
                    tenant_id=given.tenant_id, association_id=given.association_id, trace_id=given.trace_id
                )
                self._draft.write([self._meta])
            self._draft.write([fragment])
        except OSError as error:
            raise _no_room(error) from error

    def finish(self) -> StoreAnswer:
        """Raises StoreRefused."""
        if self._draft is None:
            raise StoreRefused(StoreAnswer(NO_MATCH, "no data set"))
        try:
            with self._draft.view() as view, memoryview(view)[len(self._meta) :] as dataset:
                facts = dataset_check(dataset, transfer_syntax_uid=self._transfer_syntax_uid)
            if (facts.sop_class_uid, facts.sop_instance_uid) != self._uids:
                raise Refused(NO_MATCH, "command and data set name different objects")
            result_check(facts)
            quota_take(tenant_id=self._admission.tenant_id, size=self._draft.size)
            returned_keep(self._draft, facts=facts, origin=self._origin())
        except Refused as refused:
            raise StoreRefused(StoreAnswer(refused.status, refused.reason[:64])) from refused
        except OSError as error:
            raise _no_room(error) from error
        return StoreAnswer(0)

    def _origin(self) -> Origin:
        given = self._admission
        called = called_ae_get(ae_title=given.called_ae)
        if called is None or called.connection_id is None or called.tenant_id != given.tenant_id:
            raise Refused(PROCESSING_FAILURE, "this AE title takes no results any more")
        return Origin(
            given.tenant_id, called.connection_id, Actor(name=f"ae:{given.calling_ae}", address=given.address or None),
            association_id=given.association_id,
        )  # fmt: skip

    def close(self) -> None:
        if self._draft is not None:
            self._draft.close()
            self._draft = None


def _no_room(error: OSError) -> StoreRefused:
    return StoreRefused(StoreAnswer(disk_status(error), "no room: nothing of this object was kept"))
